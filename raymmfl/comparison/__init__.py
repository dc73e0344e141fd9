"""Comparisons: runs, or the trials of a study, side by side on one page."""

"""Synthetic archives, written as real files in the layouts of real ones."""

"""Readers of people's archives: what lies in their folders, as checked scenes."""

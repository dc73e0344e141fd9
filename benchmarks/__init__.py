"""Measurements of raymmfl as ratios, each in one run; never asserted in tests."""

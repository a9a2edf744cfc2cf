"""Data sets: tables, splits and where they come from."""

"""Figures: each a function that takes axes and arrays, usable in a notebook."""

"""Scores as pure functions on arrays: shapes in, numbers out, nothing remembered."""

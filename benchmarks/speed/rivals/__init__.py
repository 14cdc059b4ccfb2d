"""Servers to compare with; each runs in an environment of its own and imports nothing of this project."""

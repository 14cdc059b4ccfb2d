"""Measurements of serving and training; each entry point is `python -m benchmarks.NAME`."""

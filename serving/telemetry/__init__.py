"""Prometheus metrics and log lines: listeners of `serving.events`."""

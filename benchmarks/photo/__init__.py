"""Photographs at 224 pixels: multi-exit networks that people serve, beside the same ones at full depth."""

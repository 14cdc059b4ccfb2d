"""Calibrations of bundles: collected, tempered, and replaced by those of other images."""

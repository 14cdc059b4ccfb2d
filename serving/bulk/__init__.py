"""Bulk classification: a finite set of images to one parquet file of answers (docs/bulk.md)."""

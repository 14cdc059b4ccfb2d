"""The Hugging Face Hub: bundles and data sets from there and its local cache, and bundles to there."""

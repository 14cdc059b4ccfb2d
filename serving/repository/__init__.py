"""Which models there are: bundles and versions on disk, those that are loaded, and how they change."""

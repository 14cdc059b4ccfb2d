"""Early exits and cascades for classifiers that are trained already (docs/adopting.md)."""

"""A run's folder: what is written there, and how a run starts again from it."""

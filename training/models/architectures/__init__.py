"""The multi-exit architectures, and classifiers that get exits by being cut."""

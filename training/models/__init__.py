"""The architectures: multi-exit nets by name, and classifiers that become ones by being cut."""

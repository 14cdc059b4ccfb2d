"""Data: a source of labelled images, one seeded split of it, and reproducible batches on the device."""

"""A trained network as a graph of torch: traced, cut into segments, and stored with a run."""

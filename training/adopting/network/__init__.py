"""A trained network as a graph: where it comes from, where it can be cut, and what it costs."""

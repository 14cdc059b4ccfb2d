"""The runtimes that can compute a network, behind one interface."""

"""The training loop: a run's problem, its losses, its processes and its progress."""

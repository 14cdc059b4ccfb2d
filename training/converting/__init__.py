"""Runs made of checkpoints that were published elsewhere."""

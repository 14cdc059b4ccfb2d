"""The server: bundles of exit segments in, answers under a FLOPs budget out."""

"""The engine's cost, segment by segment, and one image's way through the source."""

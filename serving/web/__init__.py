"""HTTP: bodies, queries and routes."""

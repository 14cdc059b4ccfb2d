"""HTTP: bodies, queries and routes; everything that knows what a request looks like."""

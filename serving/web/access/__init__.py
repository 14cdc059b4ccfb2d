"""Who may ask, and how much: hosts, keys, limits per key, and the id of a request."""

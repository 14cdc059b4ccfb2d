"""Which way of serving trained networks is best: each alternative, measured by the server on this machine."""

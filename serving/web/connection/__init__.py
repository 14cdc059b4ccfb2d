"""One connection: framing, deadlines, hang-ups, TLS, and the app's outermost layer."""

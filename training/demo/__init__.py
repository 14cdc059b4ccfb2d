"""The whole road on small images: train, evaluate, export, serve, and ask under four budgets over HTTP."""

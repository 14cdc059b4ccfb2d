"""Budgets, guarantees, drift, labels and brown-out, measured on the served engine."""

"""Watches answers, and corrects or reports: budgets, drift, agreement with the last exit."""

"""What a net's answers are worth: accuracy per exit, and what budgets buy."""

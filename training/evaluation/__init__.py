"""Evaluation of a net's answers: accuracy per exit, and accuracy under budgets."""

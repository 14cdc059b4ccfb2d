"""Rows of different requests on their way through the stages of one model."""

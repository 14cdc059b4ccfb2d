"""The methods: each turns the losses of n exits into one epoch's update of the parameters."""

from training.methods.registry import (
    METHODS,
    TORCHJD,
    Method,
    MethodEntry,
    method,
    method_entry,
    method_options,
)

__all__ = ["METHODS", "TORCHJD", "Method", "MethodEntry", "method", "method_entry", "method_options"]

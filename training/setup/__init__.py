"""Preparation of a model before its first step: whitening, compiling, and the checks of both."""

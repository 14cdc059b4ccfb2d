"""A user's errors on the training side; every text names the expected, the found and the remedy."""

from serving.errors import OfframpError


class ConfigError(OfframpError):
    """A setting, name or combination of settings that cannot be used."""


class DataError(OfframpError):
    """A data set that cannot be found, read or used."""


class RunError(OfframpError):
    """A run folder that is missing, damaged, or does not fit what is asked of it."""


class NonFiniteLossError(OfframpError):
    """A loss became NaN or infinite; the message names the epoch, the phase, the step and the exit."""


class DemoError(OfframpError):
    """A step of the demo failed, or the server did not keep its word."""


class AdoptError(OfframpError):
    """A trained network that cannot become a bundle; the text says what is in the way and what to do."""

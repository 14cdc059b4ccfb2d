"""A hint for accuracy at the level of chance: mostly the network's classes are in another order."""

import logging
import math

_LOGGER = logging.getLogger(__name__)
_FEWEST_IMAGES = 30
_DEVIATIONS = 3


def hint_at_chance(accuracy: float, classes: int, images: int) -> str | None:
    """Say so where an accuracy is no better than guessing; None where it is better, or images are few.

    Args:
        accuracy: of the last exit.
        classes: how many there are.
        images: how many the accuracy was measured on.
    """
    chance = 1 / classes
    deviation = math.sqrt(chance * (1 - chance) / images)
    if images < _FEWEST_IMAGES or accuracy > chance + _DEVIATIONS * deviation:
        return None
    return (
        f"the last exit is right on {accuracy:.1%} of {images:,} images, no better than guessing one of "
        f"{classes} classes ({chance:.1%}): are the classes in the order that the network was trained on, "
        "and the images of its kind?"
    )


def tell_chance(accuracy: float, classes: int, images: int) -> None:
    """Log that hint, if there is one."""
    if hint := hint_at_chance(accuracy, classes, images):
        _LOGGER.warning(hint)

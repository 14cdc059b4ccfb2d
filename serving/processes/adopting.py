"""A process that starts later comes to have the models that the others have, changes by hand included."""

from collections.abc import Mapping
from typing import Any

from structlog.typing import FilteringBoundLogger

from serving.errors import OfframpError
from serving.processes.shapes import SlotShape
from serving.repository.live import LiveModels
from serving.web.served import ModelChanges


def adopt(
    repository: ModelChanges,
    live: LiveModels[Any],
    wanted: Mapping[str, SlotShape],
    logger: FilteringBoundLogger,
) -> None:
    """Load, unload and promote until the models are those of another process.

    What cannot be loaded is left out, which the log says: it was removed from the folder since.

    Args:
        repository: changes the models of this process.
        live: has them.
        wanted: those of another process, by name.
        logger: where what is left out is named.
    """
    for name in [name for name in live.slots if name not in wanted]:
        repository.unload(name)
    for name, shape in wanted.items():
        try:
            _adopt(repository, live, name, shape)
        except OfframpError as error:
            logger.error("model_not_adopted", model=name, reason=str(error))


def _adopt(repository: ModelChanges, live: LiveModels[Any], name: str, shape: SlotShape) -> None:
    if name not in live.slots:
        repository.load(name)
    for number in shape.versions:
        if number not in live.slot(name).versions:
            repository.load(name, number)
    chosen_by_hand = shape.pinned or live.slot(name).current != shape.current
    if shape.previous is not None and chosen_by_hand and shape.previous in shape.versions:
        repository.promote(name, shape.previous)  # for `rollback`
    if chosen_by_hand:
        repository.promote(name, shape.current)
    for number in list(live.slot(name).versions):
        if number not in shape.versions:
            repository.unload(name, number)
    slot = live.slot(name)
    if slot.canary != shape.canary:
        repository.set_canary(name, shape.canary)
    if slot.shadow != shape.shadow:
        repository.set_shadow(name, shape.shadow)

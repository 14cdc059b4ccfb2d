"""Class names and their order: a network's own, the data set's, and how one maps to the other."""

from collections.abc import Sequence
from pathlib import Path

from training.adopting.network.network import Network
from training.errors import AdoptError, ConfigError

_SHOWN = 5


def read_names(path: Path) -> tuple[str, ...]:
    """Read a file of class names, a line each.

    Raises:
        ConfigError: it cannot be read, or a name is there twice.
    """
    try:
        names = tuple(line.strip() for line in path.read_text().splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"--classes {path}: expected a file with a class name in each line ({error})"
        ) from error
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"--classes {path}: found {', '.join(twice[:_SHOWN])} more than once")
    return names


def class_names(network: Network, data_set: str, found: Sequence[str]) -> tuple[str, ...]:
    """Return the names of a network's classes in the order of its output.

    Args:
        network: whose own names count, where they are known.
        data_set: its name, for messages.
        found: the data set's class names in its order; () where it has no labels.

    Raises:
        AdoptError: the number of classes differs.
    """
    names = network.class_names or tuple(found) or tuple(map(str, range(network.classes)))
    if len(names) != network.classes:
        whose = "--classes" if network.class_names else f"data set {data_set}"
        raise AdoptError(
            f"{network.name} answers with {network.classes} classes, {whose} has {len(names)} "
            f"({', '.join(names[:_SHOWN])}, …): give images of the network's own classes, or its class "
            "names in their order by --classes"
        )
    return names


def order_of(network: Network, names: Sequence[str]) -> tuple[int, ...] | None:
    """Return, for each of the bundle's classes, its place in a network's output; None where they agree.

    Raises:
        AdoptError: the network has other classes.
    """
    if network.classes != len(names):
        raise AdoptError(
            f"{network.name} answers with {network.classes} classes; the last network with {len(names)}"
        )
    own = network.class_names
    if own is None or own == tuple(names):
        return None
    if differing := sorted(set(own) ^ set(names)):
        raise AdoptError(
            f"{network.name} has other classes than the last network; not in both: "
            f"{', '.join(differing[:_SHOWN])}{', …' if len(differing) > _SHOWN else ''}"
        )
    place = {name: index for index, name in enumerate(own)}
    return tuple(place[name] for name in names)

"""The ways to serve some networks, and their bundles."""

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from serving.bundle import Bundle, read_bundle
from serving.errors import OfframpError
from training.adopting import adoption, cascading
from training.adopting.adoption import Show
from training.adopting.drafting import Prepared, write
from training.adopting.images import Opened
from training.adopting.network.network import Network
from training.advising.config import AdviseConfig
from training.advising.frontier import Kind, Precision
from training.errors import ConfigError

ARROW = " → "


@dataclass(frozen=True)
class Alternative:
    """A way to serve, in one precision.

    Args:
        title: for people.
        kind: what it is.
        bundle: that serves it.
    """

    title: str
    kind: Kind
    bundle: Bundle

    @property
    def precision(self) -> Precision:
        """Return the precision of its segments."""
        return self.bundle.manifest.precision


@dataclass(frozen=True)
class _Plan:
    kind: Kind
    networks: tuple[Network, ...]

    @property
    def title(self) -> str:
        names = ARROW.join(network.name for network in self.networks)
        return f"{names} with exits" if self.kind == "exits" else names

    @property
    def name(self) -> str:
        return "-".join([self.kind, *(network.name for network in self.networks)])


def planned(networks: Sequence[Network], config: AdviseConfig) -> list[_Plan]:
    """Return what there is to build.

    Args:
        networks: from the cheapest to the dearest.
        config: says which cascades, and which networks are given exits.
    """
    plans = [_Plan("network", (network,)) for network in networks]
    sizes = {"none": (), "pairs": (2,), "all": tuple(range(2, len(networks) + 1))}[config.cascades]
    rows = [row for size in sizes for row in combinations(networks, size)]
    if config.cascades == "pairs" and len(networks) > 2:
        rows.append(tuple(networks))
    plans += [_Plan("cascade", row) for row in rows]
    adopted = {"none": (), "dearest": networks[-1:], "all": networks}[config.adopt]
    return plans + [_Plan("exits", (network,)) for network in adopted]


def check_names(names: Sequence[str]) -> None:
    """Refuse networks that cannot be told apart by their names.

    Raises:
        ConfigError: with the name that occurs twice.
    """
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(
            f"expected networks of different names; found {twice[0]} more than once: rename a file"
        )


def build(
    networks: Sequence[Network],
    opened: Opened,
    folder: Path,
    config: AdviseConfig,
    *,
    tell: Callable[[str], None],
    show: Show,
) -> tuple[list[Alternative], list[str]]:
    """Build a bundle of each alternative, but for those that are there from before.

    Args:
        networks: from the cheapest to the dearest.
        opened: the images.
        folder: where the bundles go.
        config: the settings.
        tell: takes a sentence on what is going on.
        show: hears how far training heads is.

    Returns:
        The alternatives, and a sentence on each that cannot be built.
    """
    precisions = list(dict.fromkeys(["float32", config.precision]))
    built, left_out = [], []
    for plan in planned(networks, config):
        prepared: Prepared | None = None
        work = folder / f".{plan.name}.work"
        for precision in precisions:
            place = folder / (plan.name if precision == "float32" else f"{plan.name}-{precision}")
            try:
                if not (place / "manifest.json").exists():
                    settings = config.model_copy(update={"precision": precision})
                    if prepared is None:
                        tell(f"building {plan.title}")
                        prepared = _prepared(plan, opened, settings, work, tell, show)
                    write(place, prepared, settings, force=False, tell=tell)
                built.append(Alternative(plan.title, plan.kind, read_bundle(place)))
            except OfframpError as error:
                left_out.append(f"left out: {plan.title} in {precision}: {error}")
                tell(left_out[-1])
                if prepared is None:
                    break
        shutil.rmtree(work, ignore_errors=True)
    return built, left_out


def given(folders: Sequence[Path], classes: Sequence[str]) -> list[Alternative]:
    """Read bundles that are there already.

    Raises:
        BundleError: one cannot be read.
        ConfigError: one answers with other classes.
    """
    found = [Alternative(folder.name, "bundle", read_bundle(folder)) for folder in folders]
    for alternative in found:
        if set(alternative.bundle.manifest.classes) != set(classes):
            raise ConfigError(
                f"{alternative.bundle.folder}: expected a bundle over the data set's classes; found "
                f"{', '.join(alternative.bundle.manifest.classes[:5])}, …"
            )
    return found


def is_bundle(name: str) -> bool:
    """Say whether a name is the folder of a bundle."""
    return (Path(name).expanduser() / "manifest.json").is_file()


def key_of(networks: Sequence[Network], opened: Opened, config: AdviseConfig) -> str:
    """Return what tells bundles of other networks, images or settings from these."""
    asked = {"budget", "latency_ms", "test_limit", "timed_images", "rounds", "cascades", "adopt", "precision"}
    settings = config.model_dump_json(include=set(AdviseConfig.model_fields) - asked)
    facts = [*(network.sha256 for network in networks), settings]
    rows = b"".join(part.rows.tobytes() for part in (opened.train, opened.calibrate))
    return hashlib.sha256("\n".join(facts).encode() + rows).hexdigest()


def _prepared(
    plan: _Plan,
    opened: Opened,
    config: AdviseConfig,
    work: Path,
    tell: Callable[[str], None],
    show: Show,
) -> Prepared:
    if plan.kind == "exits":
        return adoption.prepare(plan.networks[0], opened, config, work, tell, show)
    return cascading.prepare(plan.networks, opened, config, tell)

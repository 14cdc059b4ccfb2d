"""From networks and images to one frontier: build, serve, measure, compare."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from serving.errors import BudgetError
from serving.policy.budget import parse_budget
from training.adopting import overlap
from training.adopting.assembling import Member
from training.adopting.bars import Bars
from training.adopting.cascading import load_members
from training.adopting.drafting import first_images, image_spec
from training.adopting.images import Opened, Pictures, open_images
from training.adopting.network import pixels_of
from training.adopting.network.classes import class_names, order_of
from training.adopting.network.network import Network
from training.adopting.reference import Reference
from training.advising import alternatives, plot, report
from training.advising.config import AdviseConfig
from training.advising.measure import measure
from training.data.images import decode
from training.data.normalising import normalisation
from training.errors import ConfigError, DataError

_KEY = ".key"
_UNBOUNDED = 1 << 80
_CHUNK = 256


def advise(
    names: Sequence[str], out: Path, config: AdviseConfig, console: Console, *, force: bool = False
) -> report.Advice:
    """Build the ways to serve networks, measure them, and say which is best.

    Args:
        names: networks (`training.adopting.network.loading`) and folders of bundles.
        out: folder of the bundles, the figures and the picture.
        config: the settings.
        console: takes the tables.
        force: replace what is there of other networks or settings.

    Raises:
        ConfigError: something cannot be used, or nothing can be compared.
        AdoptError, BundleError, DataError, DemoError, RunError: something else does not fit.
    """
    bundles = [Path(name).expanduser() for name in names if alternatives.is_bundle(name)]
    networks = load_members([name for name in names if not alternatives.is_bundle(name)], config)
    alternatives.check_names([network.name for network in networks] + [folder.name for folder in bundles])
    # The same images calibrate whatever is compared, so that bundles from before stay comparable.
    opened = _with_test(open_images(config, trains=bool(networks)), config)

    def tell(text: str) -> None:
        console.print(text, soft_wrap=True, highlight=False)

    for warning in overlap.warnings(opened, trains=bool(networks)):
        tell(warning)
    networks = sorted(_settled(networks, opened, config, tell), key=lambda network: network.flops)
    config = config.model_copy(update={"normalise": (), "classes": ()})
    test, expected = _expected(networks, opened, config)
    kept = alternatives.given(bundles, sorted(set(expected)))
    full_flops = float(
        networks[-1].flops if networks else max(one.bundle.manifest.exit_flops[-1] for one in kept)
    )
    asked = budget_of(config.budget, full_flops)
    _take_up(out, alternatives.key_of(networks, opened, config), force=force)
    with Progress(console=console) as progress:
        show = Bars(progress)
        built, left_out = alternatives.build(
            networks, opened, out / "bundles", config, tell=progress.console.print, show=show
        )
        if not built + kept:
            raise ConfigError("nothing to compare: " + "; ".join(left_out))
        with tempfile.TemporaryDirectory(dir=out) as scratch:
            points = measure(built + kept, test, expected, full_flops, asked, config, Path(scratch), show)
    truth = "labels" if opened.test is not None and opened.test.labelled else networks[-1].name
    advice = report.Advice(
        points, len(test), test.data_set, truth, full_flops, asked, config.latency_ms, left_out
    )
    report.show(advice, console)
    report.write(advice, out / "advice.json")
    plot.draw(advice, out / "advice.png")
    tell(f"wrote {out / 'advice.json'} and {out / 'advice.png'}; the bundles are in {out / 'bundles'}")
    return advice


def budget_of(text: str | None, full_flops: float) -> float | None:
    """Read the user's budget; a share is of the dearest network.

    Raises:
        ConfigError: it cannot be read.

    >>> budget_of("50%", 126e6), budget_of("150MFLOPs", 126e6)
    (63000000.0, 150000000.0)
    """
    if text is None:
        return None
    try:
        return parse_budget(text, (1, int(full_flops) if text.rstrip().endswith("%") else _UNBOUNDED))
    except BudgetError as error:
        raise ConfigError(f"--budget: {error}") from error


def _with_test(opened: Opened, config: AdviseConfig) -> Opened:
    """Return the images with some to judge by: half of those that would calibrate, where none were given."""
    if opened.test is None:
        if len(opened.calibrate) < 4:
            raise DataError(
                f"{opened.calibrate.data_set}: expected at least 4 images to calibrate on and to judge by; "
                f"found {len(opened.calibrate)}"
            )
        test = opened.calibrate.some(len(opened.calibrate) // 2, config.seed, "judge")
        opened = replace(opened, calibrate=opened.calibrate.without(test), test=test)
    assert opened.test is not None  # noqa: S101 - just settled
    return replace(opened, test=opened.test.some(config.test_limit, config.seed, "test"))


def _settled(
    networks: Sequence[Network], opened: Opened, config: AdviseConfig, tell: Callable[[str], None]
) -> list[Network]:
    """Return the networks with the way their pixels are normalised, tried out once where it is not said."""
    if not networks:
        return []
    found = []
    for network, said in zip(networks, pixels_of.given(config.normalise, networks), strict=True):
        classes = class_names(network, opened.calibrate.data_set, opened.calibrate.classes)
        spec = image_spec([network], config)
        sample = first_images(
            opened.in_order_of(classes).calibrate, spec, pixels_of.TRIED_IMAGES, config.seed
        )
        member, sentence = pixels_of.settled(network, said, order_of(network, classes), spec, *sample)
        if sentence:
            tell(sentence)
        found.append(replace(network, normalise=member.normalisation.name))
    return found


def _expected(
    networks: Sequence[Network], opened: Opened, config: AdviseConfig
) -> tuple[Pictures, list[str]]:
    """Return the images to judge by and each one's class: its label, or what the dearest network says."""
    test = opened.test
    assert test is not None  # noqa: S101 - `_with_test` sees to it
    if test.labelled:
        return test, [test.classes[label] for label in test.labels]
    if not networks:
        raise ConfigError(f"{test.data_set} has no labels: expected a network that says what is right")
    full = networks[-1]
    names = class_names(full, test.data_set, ())
    spec = image_spec([full], config)
    reference = Reference(Member(full, normalisation(full.normalise or "0..255")), spec)
    answers = [
        reference(decode(test.part, test.rows[start : start + _CHUNK], spec)).argmax(-1)
        for start in range(0, len(test), _CHUNK)
    ]
    return test, [names[index] for index in np.concatenate(answers)]


def _take_up(out: Path, key: str, *, force: bool) -> None:
    """Go on with the bundles of a folder if they belong to the same networks, images and settings.

    Raises:
        ConfigError: they do not, or the folder holds something else.
    """
    note = out / _KEY
    if note.is_file() and note.read_text() == key:
        return
    if out.exists() and any(out.iterdir()):
        if not note.is_file():
            raise ConfigError(f"--out {out}: expected a new folder, or one of an earlier advice")
        if not force:
            raise ConfigError(
                f"--out {out} holds bundles of other networks, images or settings: name another folder, or "
                "replace them with --force"
            )
        shutil.rmtree(out / "bundles", ignore_errors=True)
    (out / "bundles").mkdir(parents=True, exist_ok=True)
    note.write_text(key)

"""Runs all ways through one network in alternating rounds."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack

from .bundles import Cuts
from .here import CHAINS
from .rows import Row
from .ways import Running, Settings, Way, WayError


def measure(
    cuts: Cuts,
    providers: Mapping[str, str | None],
    settings: Settings,
    rounds: int,
    say: Callable[[str], None],
) -> list[Row]:
    """Run each bundle on each provider.

    Args:
        cuts: the network.
        providers: by ONNX Runtime's names; why one is not here, or None.
        settings: of all ways.
        rounds: that count; one more comes before.
        say: takes a line of progress.
    """
    rows: list[Row] = []
    with ExitStack() as stack:
        running: list[tuple[Row, Running]] = []
        for provider, absence in providers.items():
            for (precision, features), folder in cuts.folders.items():
                row = Row(precision, features, provider, trouble=absence and f"not here: {absence}")
                rows.append(row)
                if row.trouble:
                    continue
                way = Way(folder, features, CHAINS[provider])
                try:
                    loaded = stack.enter_context(Running(way, cuts.images, settings))
                except WayError as error:
                    row.trouble = f"does not load: {error}"
                else:
                    row.load_seconds = loaded.load_seconds
                    running.append((row, loaded))
                say(f"{cuts.name}: {row}: {row.trouble or 'loaded'}")
        for number in range(rounds + 1):
            for row, loaded in running:
                if row.trouble is None:
                    _take_turn(row, loaded, counts=number > 0)
            say(f"{cuts.name}: round {number} of {rounds}")
    return rows


def _take_turn(row: Row, loaded: Running, *, counts: bool) -> None:
    try:
        turn = loaded.turn()
    except WayError as error:
        row.trouble = f"fails: {error}"
        return
    if counts:
        row.turns.append(turn)

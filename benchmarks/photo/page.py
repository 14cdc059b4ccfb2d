"""The rounds as a page: targets first, then every row."""

from collections.abc import Sequence

from benchmarks.speed.page import table
from benchmarks.speed.ratios import Spread, ratios

from .book import Book, Round, row_name
from .targets import TARGETS, Target

_OURS = "offramp"


def page(book: Book) -> str:
    """The whole page."""
    facts = book.facts
    machine = facts["machine"]
    lines = [
        "# Measured: photographs at 224 pixels",
        "",
        "Written by `python -m benchmarks.photo`, a part of `make bench`; [photo.json](photo.json) has every "
        "round.",
        "",
        f"{machine['cores']} cores ({machine['cpu']}{''.join(f', {name}' for name in machine['has'])}), ONNX "
        f"Runtime {machine['onnxruntime']}; the load comes from the same cores. torchvision's networks with "
        "exits, and a cascade of two of them, have random weights: exit shares are fixed and no accuracy is "
        f"claimed. Each round sends {facts['pictures']} JPEGs of 500×375 to 1920×1080 pixels "
        f"({facts['picture_kb']:g} KB on average) several times over and waits for every answer; rounds "
        "alternate between the servers. Peers run the same network at full depth as one graph, decode with "
        "libjpeg's scaling and resample the crop alone, as Offramp does. *Processor time* is that of the "
        "server and its children per request. Where it and the rate disagree, it decides: other work on the "
        "machine moves it little.",
        "",
        "## Targets",
        "",
        "Ratios of neighbouring rounds. Budgets are shares of the FLOPs at full depth.",
        "",
        *_targets(book),
    ]
    for key, network in book.networks.items():
        lines += ["", f"## {key.replace(' / ', ', ')}", "", *_about(network)]
        lines += _rates(book, key)
        lines += _floors(book, key, network)
    return "\n".join(lines) + "\n"


def _targets(book: Book) -> list[str]:
    rows = []
    for target in TARGETS:
        found = {kind: _ratio(book, target, kind) for kind in ("rate", "cpu_ms")}
        cells = [_spread(spread, 2) if spread else "not measured" for spread in found.values()]
        decisive = found["cpu_ms"]
        verdict = "" if decisive is None else ("met" if decisive.median >= target.value else "**missed**")
        rows.append([target.text, f"≥ {target.value:g}", *cells, verdict])
    return table(["", "target", "requests/s", "processor time", ""], rows)


def _ratio(book: Book, target: Target, kind: str) -> Spread | None:
    """Ours over the best peer, as a gain: rates one way round, processor time the other."""
    where = (target.network, target.precision, target.connections)
    ours = _best(book, where, kind, lambda who: _counts(who, target))
    if target.over == "floor":
        return _of_floor(book, target, kind, ours)
    theirs = _best(book, where, kind, lambda who: not who.startswith(_OURS))
    if not ours or not theirs:
        return None
    rounds = min(len(ours), len(theirs))
    return ratios(*_gain(ours[:rounds], theirs[:rounds], kind))


def _counts(who: str, target: Target) -> bool:
    """Say whether a row of ours is of the target's budget and arithmetic."""
    ends = who.startswith(_OURS) and who.endswith(f"at {target.budget}%")
    return ends and ("bf16" in who) == target.bf16


def _gain(
    ours: Sequence[float], theirs: Sequence[float], kind: str
) -> tuple[Sequence[float], Sequence[float]]:
    return (ours, theirs) if kind == "rate" else (theirs, ours)


def _of_floor(book: Book, target: Target, kind: str, ours: Sequence[float]) -> Spread | None:
    """Ours over ONNX Runtime alone on the cores side by side, and the decoding of the same pictures."""
    floor = f"raw side by side at {target.budget}%"
    rounds = book.rounds.get(row_name(target.network, target.precision, None, floor), [])
    network = book.networks.get(f"{target.network} / {target.precision}", {})
    if not ours or not rounds or "decode_ms" not in network:
        return None
    decode_ms, cores = network["decode_ms"], book.facts["machine"]["cores"]
    if kind == "cpu_ms":
        least = [one["cpu_ms"] + decode_ms for one in rounds]
    else:  # decoding takes the cores, too
        least = [1 / (1 / one["rate"] + decode_ms / 1e3 / cores) for one in rounds]
    count = min(len(ours), len(least))
    return ratios(*_gain(ours[:count], least[:count], kind))


def _best(book: Book, where: tuple[str, str, int], kind: str, wanted: object) -> list[float]:
    """One value a round of the row with the best median among those wanted."""
    start = row_name(*where, "")
    rows = [
        [one[kind] for one in rounds]
        for name, rounds in book.rounds.items()
        if name.startswith(start) and callable(wanted) and wanted(name.removeprefix(start))
    ]
    sign = 1 if kind == "rate" else -1
    return max(rows, key=lambda values: sign * Spread.of(values).median, default=[])


def _about(network: dict[str, object]) -> list[str]:
    text = f"Exits cost {', '.join(map(str, _listed(network['exit_mflops'])))} MFLOPs."
    shares = network.get("exit_shares")
    if isinstance(shares, dict) and shares:
        each = (
            f"{budget}%: {', '.join(f'{share:.2f}' for share in _listed(found))}"
            for budget, found in shares.items()
        )
        text += f" Shares of the images that leave at each, at a budget of {'; '.join(each)}."
    return [text, ""]


def _rates(book: Book, key: str) -> list[str]:
    rows = []
    for name, rounds in book.rounds.items():
        network, precision, connections, who = name.split(" / ")
        if f"{network} / {precision}" == key and connections != "-":
            rows.append([who, connections, *_cells(rounds), *_more(rounds), str(len(rounds))])
    head = [
        "",
        "connections",
        "requests/s",
        "processor ms",
        "cores",
        "others' cores",
        "p50 ms",
        "p99 ms",
        "MB",
    ]
    return table([*head, "rounds"], sorted(rows, key=lambda row: -int(row[1]))) if rows else []


def _floors(book: Book, key: str, network: dict[str, object]) -> list[str]:
    rows = []
    for name, rounds in book.rounds.items():
        net, precision, connections, who = name.split(" / ")
        if f"{net} / {precision}" == key and connections == "-":
            rows.append([who, *_cells(rounds), str(len(rounds))])
    if not rows:
        return []
    decode = f" Decoding a picture of the pool takes another {network['decode_ms']} ms of processor time."
    head = [f"ONNX Runtime alone, in batches of 8, on pixels that are decoded already.{decode}", ""]
    return ["", *head, *table(["", "images/s", "processor ms", "rounds"], rows)]


def _cells(rounds: Sequence[Round]) -> list[str]:
    return [_spread(Spread.of([one[kind] for one in rounds]), 1) for kind in ("rate", "cpu_ms")]


def _more(rounds: Sequence[Round]) -> list[str]:
    kinds = (("cores", 2), ("foreign_cores", 2), ("p50_ms", 0), ("p99_ms", 0), ("resident_mb", 0))
    return [f"{Spread.of([one[kind] for one in rounds]).median:,.{digits}f}" for kind, digits in kinds]


def _spread(spread: Spread, digits: int) -> str:
    return " / ".join(f"{value:,.{digits}f}" for value in (spread.low, spread.median, spread.high))


def _listed(values: object) -> list[float]:
    return list(values) if isinstance(values, list) else []

"""Kind 10: numbers at the edge of what a number can be, in every parameter that takes one."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from benchmarks.attack import nets
from benchmarks.attack.finding import Finding, is_in
from benchmarks.attack.target import serving

EDGES = (
    *("0", "-0", "1e-300", "5e-324", "1e-400", "2.2250738585072014e-308", "1e308", "1.8e308", "1e400"),
    *("9007199254740993", "18446744073709551616", "1" + "0" * 308, "1" + "0" * 309, "nan", "-nan", "inf"),
    *("-inf", "infinity", "0x10", "1_000", "٣", "\uff11", "1e", "e5", "+5", " 5 ", "0.9999999999999999"),
    *("0.99999999999999999", "1e-17", "1e-16", "", "%", "1e5%", "1e-300%", "1e308%", "1e308GFLOPs"),
)


def attack() -> Iterator[Finding]:
    """Ask with each in each parameter; nothing may be the server's fault."""
    with tempfile.TemporaryDirectory() as folder, serving(nets.tiny(Path(folder))) as target:
        paths = [f"/classify?{name}=" for name in ("budget", "max_drop", "deadline_ms", "mode", "model")]
        paths += [
            "/classify?mode=hard&budget=",
            "/classify?budget=50%25&max_drop=",
            "/classify?max_drop=0.5&budget=",
        ]
        paths += [
            "/models/tiny/plan?budget=",
            "/models/tiny/plan?max_drop=",
            "/models/tiny/plan?max_drop=0.9&budget=",
        ]
        for path in paths:
            failed = []
            for edge in EDGES:
                body = None if path.startswith("/models") else nets.png()
                if (status := target.ask(path + quote(edge), body)[0]) not in (200, 400, 404, 422, 504):
                    failed.append(f"{edge} {status}")
            yield is_in(f"{path} at {len(EDGES)} edges: failures", ", ".join(failed) or "none", ("none",))

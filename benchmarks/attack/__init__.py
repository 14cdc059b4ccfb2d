"""Attacks on a running server, one file for each kind; `python -m benchmarks.attack` runs them all.

Everything goes to servers that the attacks start themselves, on 127.0.0.1, and everything is bounded in count
and time: an attack that the server does not withstand ends, too.
"""

from benchmarks.attack import (
    burst,
    decoding,
    edge_numbers,
    fairness,
    framing,
    hang_ups,
    hanging,
    heads,
    parsing,
    posture,
    quota,
    runs,
    starting,
    unread,
    unread_logs,
    upgrading,
)
from benchmarks.attack.finding import Attack

ATTACKS: dict[str, Attack] = {
    "parsing": parsing.attack,
    "heads": heads.attack,
    "unread": unread.attack,
    "decoding": decoding.attack,
    "hang-ups": hang_ups.attack,
    "fairness": fairness.attack,
    "hanging": hanging.attack,
    "upgrading": upgrading.attack,
    "starting": starting.attack,
    "unread-logs": unread_logs.attack,
    "edge-numbers": edge_numbers.attack,
    "framing": framing.attack,
    "burst": burst.attack,
    "quota": quota.attack,
    "training": runs.attack,
    "posture": posture.attack,
}
"""Attacks by name."""

"""Whether a JPEG's scans bring all that its header promises.

A file that is cut between two scans and given an end mark is sound to a decoder: of a sequential one a
component may be missing, which turns a picture grey, of a progressive one the details.

ITU-T T.81, B.2.3 (scan headers) and G.1.1 (progressive). Deviation: there an encoder may leave the last bits
of a progressive picture out. None does, and a cut looks the same.
"""

from collections.abc import Iterable

_COEFFICIENTS = 64
_PROGRESSIVE = 0xC2
_MISSING = 16  # more bits than any coefficient lacks


def is_whole(frame: bytes, scans: Iterable[bytes]) -> bool:
    """Tell whether every component is in a scan, and in a progressive file down to its last bit.

    Args:
        frame: the marker of the frame header, and its body.
        scans: the bodies of the scan headers, in order.
    """
    components = [frame[place] for place in range(7, 7 + 3 * frame[6], 3)]
    lacking = [[_MISSING] * _COEFFICIENTS for _ in components]  # bits of each coefficient yet to come
    for scan in scans:
        first, last, bits = _brought(scan) if frame[0] == _PROGRESSIVE else (0, _COEFFICIENTS, 0)
        for index in _components(components, scan):
            lacking[index][first:last] = [bits] * len(lacking[index][first:last])
    return not any(map(any, lacking))


def _components(components: list[int], scan: bytes) -> set[int]:
    """Return the places of a scan's components; of two with one name the next one that is not taken."""
    taken: set[int] = set()
    for name in scan[1 : 1 + 2 * (scan[0] if scan else 0) : 2]:
        same = (index for index, found in enumerate(components) if found == name and index not in taken)
        taken.update(list(same)[:1])
    return taken


def _brought(scan: bytes) -> tuple[int, int, int]:
    """Return the coefficients of a progressive scan, first and last plus one, and the bits left out."""
    if len(scan) < 3:  # The decoder says what is wrong.
        return 0, 0, 0
    return scan[-3], scan[-2] + 1, scan[-1] & 15

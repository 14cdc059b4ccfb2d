"""Counts the fields of a message before protobuf makes objects of them.

Two bytes can be an empty submessage, of which protobuf makes eighty: 16 MB would become 700. The encoding is
that of protobuf.dev/programming-guides/encoding.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

_VARINT, _FIXED64, _LENGTH, _GROUP, _GROUP_END, _FIXED32 = range(6)
_MOST_VARINT_BYTES = 10
_FIXED = {_FIXED64: 8, _FIXED32: 4, _GROUP: 0, _GROUP_END: 0}

Submessages = Mapping[int, Any]
"""The fields of a message that are messages themselves, by number, each with its own."""


def has_at_most(most: int, raw: bytes, descriptor: Any) -> bool:
    """Say whether a message has at most so many fields, those of its submessages included.

    Takes time in proportion to `most`, not to the message. Bytes that are no message may count as few fields:
    protobuf refuses them where this stops reading.

    Args:
        most: how many.
        raw: the message as it was sent.
        descriptor: protobuf's, of the message.
    """
    parts = [(0, len(raw), _submessages(descriptor))]
    while parts:
        place, end, inner = parts.pop()
        while place < end:
            most -= 1
            if most < 0:
                return False
            tag, place = _varint(raw, place, end)
            number, kind = tag >> 3, tag & 7
            if kind in _FIXED:
                place += _FIXED[kind]
            elif kind in (_VARINT, _LENGTH) and place < end:
                value, place = _varint(raw, place, end)
                if kind == _LENGTH:
                    if number in inner:
                        parts.append((place, min(place + value, end), inner[number]))
                    place += value
            else:
                break
    return True


def _varint(raw: bytes, place: int, end: int) -> tuple[int, int]:
    """Read a number; return it, and the place behind it: the end where there is no whole one."""
    value = 0
    for count in range(min(_MOST_VARINT_BYTES, end - place)):
        byte = raw[place + count]
        value |= (byte & 127) << 7 * count
        if byte < 128:
            return value, place + count + 1
    return 0, end


@cache
def _submessages(descriptor: Any) -> Submessages:
    return {
        field.number: _submessages(field.message_type)
        for field in descriptor.fields
        if field.message_type is not None
    }

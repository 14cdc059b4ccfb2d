"""A PNG decoder from the specification (https://www.w3.org/TR/png-3/), slow and strict, for comparison.

It shares nothing with the server's: filters, interlacing and samples are undone here, one byte at a time.
"""

import zlib
from collections.abc import Iterator
from fractions import Fraction

DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))

Pixel = tuple[Fraction, Fraction, Fraction]


class NotAPngError(Exception):
    """What the specification forbids; the text says what."""


def decode(data: bytes) -> list[list[Pixel]]:
    """Return rows of pixels over white, on a scale of 0 to 255, 16-bit samples cut to their high byte."""
    chunks = read_chunks(data)
    if not chunks or chunks[0][0] != b"IHDR" or len(chunks[0][1]) != 13:
        raise NotAPngError("no IHDR")
    header = chunks[0][1]
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
    depth, colour, compression, filtering, interlaced = header[8:]
    if depth not in DEPTHS.get(colour, ()) or compression or filtering or interlaced > 1:
        raise NotAPngError("IHDR")
    if not 0 < width < 2**31 or not 0 < height < 2**31:
        raise NotAPngError("size")
    names = [name for name, _ in chunks]
    if names.count(b"IHDR") > 1 or b"IDAT" not in names:
        raise NotAPngError("chunks")
    first = names.index(b"IDAT")
    palette = find_palette(chunks, names, first, depth) if colour == 3 else []
    key, alphas = find_transparency(chunks[:first], colour, depth, palette)
    run = first
    while run < len(names) and names[run] == b"IDAT":
        run += 1
    stream = b"".join(body for _, body in chunks[first:run])
    image: list[list[Pixel]] = [[(Fraction(0),) * 3 for _ in range(width)] for _ in range(height)]
    for x, y, line in lines(stream, width, height, depth, colour, interlaced):
        for column, place in enumerate(x):
            samples = take(line, column, depth, CHANNELS[colour])
            image[y][place] = shown(samples, depth, colour, palette, alphas, key)
    return image


def lines(
    stream: bytes, width: int, height: int, depth: int, colour: int, interlaced: int
) -> Iterator[tuple[range, int, bytes]]:
    """Yield the places of a row's pixels across and down, and the row's bytes."""
    bits = depth * CHANNELS[colour]
    passes = [
        (range(x, width, dx), range(y, height, dy))
        for x, y, dx, dy in (PASSES if interlaced else ((0, 0, 1, 1),))
    ]
    lengths = [(1 + (len(x) * bits + 7) // 8) * len(y) if x and y else 0 for x, y in passes]
    try:
        raw = zlib.decompressobj().decompress(stream, sum(lengths))
    except zlib.error as error:
        raise NotAPngError("zlib") from error
    if len(raw) < sum(lengths):
        raise NotAPngError("too few pixels")
    start = 0
    for (x, y), length in zip(passes, lengths, strict=True):
        if length:
            rows = unfilter(raw[start : start + length], (len(x) * bits + 7) // 8, max(1, bits // 8))
            yield from zip([x] * len(y), y, rows, strict=True)
        start += length


def read_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Critical chunks must be known and sound; ancillary ones that are not are left out."""
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        raise NotAPngError("signature")
    chunks: list[tuple[bytes, bytes]] = []
    start = 8
    while True:
        length, name = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8]
        end = start + 12 + length
        if end > len(data) or not (name.isalpha() and name.isascii()):
            raise NotAPngError("cut off or nameless")
        sound = zlib.crc32(data[start + 4 : end - 4]) == int.from_bytes(data[end - 4 : end], "big")
        if name[:1].isupper() and (name not in (b"IHDR", b"PLTE", b"IDAT", b"IEND") or not sound):
            raise NotAPngError("critical chunk")
        if name == b"IEND":
            return chunks
        if sound:
            chunks.append((name, data[start + 8 : end - 4]))
        start = end


def find_palette(
    chunks: list[tuple[bytes, bytes]], names: list[bytes], first: int, depth: int
) -> list[bytes]:
    if names.count(b"PLTE") != 1 or names.index(b"PLTE") > first:
        raise NotAPngError("PLTE")
    body = chunks[names.index(b"PLTE")][1]
    if len(body) % 3 or not 3 <= len(body) <= 768:
        raise NotAPngError("palette")
    return [body[i : i + 3] for i in range(0, len(body), 3)][: 2**depth]


def find_transparency(
    chunks: list[tuple[bytes, bytes]], colour: int, depth: int, palette: list[bytes]
) -> tuple[tuple[int, ...] | None, bytes]:
    """The colour key, or the alpha of each palette entry."""
    seen_palette = False
    for name, body in chunks:
        seen_palette = seen_palette or name == b"PLTE"
        if name != b"tRNS":
            continue
        if colour == 3 and seen_palette and 1 <= len(body) <= len(palette):
            return None, body
        if len(body) == {0: 2, 2: 6}.get(colour):
            words = [int.from_bytes(body[i : i + 2], "big") for i in range(0, len(body), 2)]
            return tuple(word % 2**depth for word in words), b""
    return None, b""


def unfilter(raw: bytes, row_bytes: int, step: int) -> list[bytes]:
    rows, above = [], bytes(row_bytes)
    for start in range(0, len(raw), row_bytes + 1):
        kind, line = raw[start], bytearray(raw[start + 1 : start + 1 + row_bytes])
        if kind > 4:
            raise NotAPngError("filter")
        for i in range(row_bytes):
            left, up, corner = (
                line[i - step] if i >= step else 0,
                above[i],
                above[i - step] if i >= step else 0,
            )
            guess = left + up - corner
            paeth = min((left, up, corner), key=lambda value: abs(guess - value))
            line[i] = (line[i] + (0, left, up, (left + up) // 2, paeth)[kind]) % 256
        rows.append(bytes(line))
        above = bytes(line)
    return rows


def take(line: bytes, column: int, depth: int, channels: int) -> tuple[int, ...]:
    as_number = int.from_bytes(line, "big")
    all_bits = 8 * len(line)
    return tuple(
        as_number >> (all_bits - depth * (column * channels + channel + 1)) & (2**depth - 1)
        for channel in range(channels)
    )


def shown(
    samples: tuple[int, ...],
    depth: int,
    colour: int,
    palette: list[bytes],
    alphas: bytes,
    key: tuple[int, ...] | None,
) -> Pixel:
    if key == samples:
        return (Fraction(255),) * 3
    if colour == 3:
        index = samples[0]
        rgb = tuple(palette[index]) if index < len(palette) else (0, 0, 0)
        alpha = alphas[index] if index < len(alphas) else 255
    else:
        bytes_ = [value >> 8 if depth == 16 else value * 255 // (2**depth - 1) for value in samples]
        alpha = bytes_.pop() if colour in (4, 6) else 255
        rgb = tuple(bytes_ * 3 if len(bytes_) == 1 else bytes_)
    red, green, blue = (Fraction(value * alpha + 255 * (255 - alpha), 255) for value in rgb)
    return red, green, blue

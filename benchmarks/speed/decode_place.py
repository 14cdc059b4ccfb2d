"""Where to decode: what a hand-over to a thread costs, and what decoding images of some sizes does.

    python -m benchmarks.speed.decode_place

Microseconds of processor time of the whole process. With `--decode-threads 0` images of up to `QUICK_PIXELS`
(`serving.web.reading.images`) are decoded in the event loop, which is kept for so long; the others are handed
over. A quarter of a minute.
"""

import asyncio
import io
import sys
import time
from collections.abc import Callable

import numpy as np
from PIL import Image

from serving.images.preprocessing import Preprocessing
from serving.web.mailbox import LoopMailbox
from serving.web.reading.decode_pool import DecodePool
from serving.web.reading.images import BodyReader, ReadLimits

SIDES = (32, 48, 64, 96, 128, 224)
_LIMITS = ReadLimits(1, 10**7, 10**7)
_REPEATS = 5


def encoded(side: int, kind: str) -> bytes:
    """One image with some structure, as photographs have."""
    random = np.random.default_rng(side)
    low = Image.fromarray(random.integers(0, 256, (side // 4, side // 4, 3), dtype=np.uint8))
    stream = io.BytesIO()
    low.resize((side, side), Image.Resampling.BICUBIC).save(stream, kind)
    return stream.getvalue()


def least_us(call: Callable[[], object], count: int) -> float:
    """Processor microseconds of a call: the least of a few rounds."""
    rounds = []
    for _ in range(_REPEATS):
        started = time.process_time()
        for _ in range(count):
            call()
        rounds.append((time.process_time() - started) / count)
    return 1e6 * min(rounds)


def hand_over_us(count: int = 2000) -> float:
    """What it costs to have a thread do nothing, and to hear of it in the event loop."""
    pool = DecodePool(1, 4)

    async def hand_over() -> float:
        mailbox = LoopMailbox(asyncio.get_running_loop())
        rounds = []
        for _ in range(_REPEATS):
            started = time.process_time()
            for _ in range(count):
                done = asyncio.Event()

                def step(done: asyncio.Event = done) -> bool:
                    mailbox.post(done.set)
                    return False

                pool.start(step)
                await done.wait()
            rounds.append((time.process_time() - started) / count)
        return 1e6 * min(rounds)

    return asyncio.run(hand_over())


def main() -> int:
    """Measure and print."""
    print(f"a hand-over to a thread and back: {hand_over_us():.0f} us")
    for kind in ("PNG", "JPEG"):
        for side in SIDES:
            body, spec = encoded(side, kind), Preprocessing(height=side, width=side)
            content_type = f"image/{kind.lower()}"
            cost = least_us(lambda b=body, s=spec, t=content_type: BodyReader(b, t, s, _LIMITS).step(), 200)  # type: ignore[misc]
            print(f"{kind} {side}x{side}, {len(body)} bytes: {cost:.0f} us")
    return 0


if __name__ == "__main__":
    sys.exit(main())

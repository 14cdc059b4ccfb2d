"""A transport that answers from a script, and a clock that only pauses move."""

from collections.abc import Sequence

import httpx

KEY = "a-key"

Step = httpx.Response | Exception

TOLD = {
    **{"class_name": "cat", "class_index": 2, "confidence": 0.75, "exit": 1, "flops": 1000},
    **{"budget_flops": 3500.0, "model": "tiny"},
}


def answered() -> httpx.Response:
    return httpx.Response(200, json=TOLD, headers={"Offramp-Request-ID": "0-ab-1"})


def refused(status: int, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json={"detail": "not now"}, headers=named)


class Script:
    """Answers requests one after the other, and keeps them."""

    def __init__(self, *steps: Step) -> None:
        self._steps = iter(steps)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        step = next(self._steps)
        if isinstance(step, Exception):
            raise step
        return step


class Time:
    """A clock, and the pauses that move it."""

    def __init__(self) -> None:
        self.now, self.pauses = 0.0, list[float]()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    async def sleep_async(self, seconds: float) -> None:
        self.sleep(seconds)


def between(pauses: Sequence[float], *bounds: tuple[float, float]) -> bool:
    return len(pauses) == len(bounds) and all(
        low <= pause <= high for pause, (low, high) in zip(pauses, bounds, strict=True)
    )

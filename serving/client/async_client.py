"""A client of the server for asyncio, with the methods of `Client`."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

import httpx

from serving.client.calls import (
    Call,
    classify_call,
    default_of,
    labels_call,
    models_call,
    plan_call,
    ready_call,
)
from serving.client.connecting import (
    Receiving,
    Verify,
    base_url_of,
    explained,
    headers_of,
    request_of,
    timeout_of,
)
from serving.client.errors import ClientError, NoAnswerError, ResponseError
from serving.client.results import Label, LabelsTaken, Plan, ServedModel, ServerAnswer
from serving.client.retries import Attempts, Backoff
from serving.images.inputs import Images
from serving.options import Budget, Mode, Priority

T = TypeVar("T")


class AsyncClient:
    """Asks a server over HTTP from an event loop, and tries again where that can help.

    async with AsyncClient("http://localhost:8000") as client:
        (answer,) = await client.classify("cat.png", budget="50%")

    Its methods are those of `Client`, with the same arguments, results and errors. Files are read, and pixels
    encoded, in a thread. A cancelled call drops its request.

    Args:
        base_url: of the server, such as "http://localhost:8000".
        key: where the server asks for one; it is sent as a bearer token.
        timeout_seconds: of a call with its retries and pauses (see `Client`).
        retries: how many times a request may be sent again.
        verify: whom to trust over TLS (see `Client`).
        transport: of httpx; its own where None.
        clock: seconds that never go back.
        sleep: waits for seconds.

    Raises:
        ValueError: an address, key, time or number that cannot be used.
    """

    def __init__(
        self,
        base_url: str,
        key: str | None = None,
        *,
        timeout_seconds: float = 30.0,
        retries: int = 3,
        verify: Verify = True,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._url = base_url_of(base_url)
        self._timeout_seconds = timeout_of(timeout_seconds)
        self._backoff = Backoff(retries)
        self._clock, self._sleep = clock, sleep
        self._http = httpx.AsyncClient(
            base_url=self._url, headers=headers_of(key), verify=verify, transport=transport
        )

    async def classify(
        self,
        images: Images,
        budget: Budget | None = None,
        *,
        model: str | None = None,
        version: str | None = None,
        mode: Mode | None = None,
        max_drop: float | None = None,
        deadline_seconds: float | None = None,
        priority: Priority | None = None,
        top_k: int | None = None,
        probabilities: bool = False,
        explain: bool = False,
    ) -> list[ServerAnswer]:
        """Classify images in one request, as `Client.classify`."""
        call = await asyncio.to_thread(
            partial(
                classify_call,
                images,
                budget,
                model=model,
                version=version,
                mode=mode,
                max_drop=max_drop,
                deadline_seconds=deadline_seconds,
                priority=priority,
                top_k=top_k,
                probabilities=probabilities,
                explain=explain,
            )
        )
        return await self._ask(call)

    async def models(self) -> list[ServedModel]:
        """Return the loaded models, as `Client.models`."""
        return await self._ask(models_call())

    async def plan(
        self, budget: Budget | None = None, *, model: str | None = None, max_drop: float | None = None
    ) -> Plan:
        """Return what to expect under a budget or a guarantee, as `Client.plan`."""
        return await self._ask(plan_call(await self._named(model), budget, max_drop))

    async def label(
        self, request_id: str, index: int, label: str | int, *, model: str | None = None
    ) -> LabelsTaken:
        """Send the true class of an image that was answered, as `Client.label`."""
        return await self.labels([Label(request_id, index, label)], model=model)

    async def labels(
        self, labels: Sequence[Label], *, model: str | None = None, skip_unknown: bool = False
    ) -> LabelsTaken:
        """Send true classes, as `Client.labels`."""
        return await self._ask(labels_call(await self._named(model), labels, skip_unknown=skip_unknown))

    async def ready(self) -> bool:
        """Return whether traffic can be sent now; a server that does not answer is not ready."""
        try:
            return await self._once(ready_call(), self._attempts())
        except ClientError:
            return False

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<AsyncClient {str(self._url)!r}>"

    async def _named(self, model: str | None) -> str:
        return default_of(await self.models()) if model is None else model

    def _attempts(self) -> Attempts:
        return Attempts(self._backoff, self._timeout_seconds, self._clock)

    async def _ask(self, call: Call[T]) -> T:
        attempts = self._attempts()
        while True:
            try:
                return await self._once(call, attempts)
            except (NoAnswerError, ResponseError) as error:
                pause = attempts.pause_seconds(error)
                if pause is None:
                    raise
            await self._sleep(pause)

    async def _once(self, call: Call[T], attempts: Attempts) -> T:
        request = request_of(self._http, call, attempts.left_seconds())
        with explained(self._url):
            response = await self._http.send(request, stream=True)
            try:
                receiving = Receiving(response, attempts)
                async for chunk in response.aiter_bytes():
                    receiving.add(chunk)
            finally:
                await response.aclose()
        return call.result(receiving.reply())

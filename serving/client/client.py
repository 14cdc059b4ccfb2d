"""A client of the server that waits for its answers."""

import time
from collections.abc import Callable, Sequence
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


class Client:
    """Asks a server over HTTP, and tries again where that can help.

    with Client("http://localhost:8000") as client:
        (answer,) = client.classify("cat.png", budget="50%")

    Every method may be called from any thread; connections are kept. Close it, or use it in a `with`
    statement.

    A request is sent again, after a pause with jitter, where the server refuses it for now (429, 503; not
    before its `Retry-After`), or where the connection fails: no request changes what another is answered, and
    a label counts once.

    Args:
        base_url: of the server, such as "http://localhost:8000".
        key: where the server asks for one; it is sent as a bearer token.
        timeout_seconds: of a call with its retries and pauses. No try begins after it, and none waits longer
            for the server's next bytes than what is left of it.
        retries: how many times a request may be sent again.
        verify: whom to trust over TLS: a context of `ssl` (such as
            `ssl.create_default_context(cafile="own.pem")`), True for the usual authorities, False for all.
        transport: of httpx, such as one with a Unix socket; its own where None.
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
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._url = base_url_of(base_url)
        self._timeout_seconds = timeout_of(timeout_seconds)
        self._backoff = Backoff(retries)
        self._clock, self._sleep = clock, sleep
        self._http = httpx.Client(
            base_url=self._url, headers=headers_of(key), verify=verify, transport=transport
        )

    def classify(
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
        """Classify images in one request; an option that is None is the server's default.

        Args:
            images: a path, the bytes of a PNG, JPEG or WebP, a Pillow image, an array uint8 [H, W, 3] of any
                size, or a list of such; or an array uint8 [N, H, W, 3].
            budget: what an image may cost on average: "50%", "150MFLOPs", "8ms", or FLOPs per image.
            model: which; needed where the server has several and no default.
            version: of the model.
            mode: "average", over all requests of that budget, or "hard", over the images of this one.
            max_drop: a guarantee: the share of answers that may be lost by leaving early.
            deadline_seconds: the best answer reached by then is taken, counted from when the server has the
                request.
            priority: the class of the request, while too much waits.
            top_k: how many of the likeliest classes answers name.
            probabilities: whether answers have those of all classes.
            explain: whether the answer says what every exit makes of the image, of which there is one.

        Returns:
            One answer for each image, in their order.

        Raises:
            ImageError: an image cannot be read; nothing was sent.
            ResponseError: the server refused the request, or failed.
            NoAnswerError: no answer came in time.
            UnexpectedAnswerError: an answer that is none of Offramp's.
        """
        return self._ask(
            classify_call(
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

    def models(self) -> list[ServedModel]:
        """Return the loaded models.

        Raises:
            ClientError: as `classify`.
        """
        return self._ask(models_call())

    def plan(
        self, budget: Budget | None = None, *, model: str | None = None, max_drop: float | None = None
    ) -> Plan:
        """Return what to expect under a budget or a guarantee.

        Args:
            budget: as of `classify`; the server's default where None.
            model: which; the server's default where None.
            max_drop: a guarantee.

        Raises:
            ClientError: as `classify`.
        """
        return self._ask(plan_call(self._named(model), budget, max_drop))

    def label(
        self, request_id: str, index: int, label: str | int, *, model: str | None = None
    ) -> LabelsTaken:
        """Send the true class of an image that was answered.

        Args:
            request_id: of its answer.
            index: its place in the request, from 0, as its answer has it.
            label: the name of the class, or its index.
            model: whose answer it was; the server's default where None.

        Raises:
            ClientError: as `classify`; a `ResponseError` of 404 where the server takes no labels here, or has
                not kept the answer.
        """
        return self.labels([Label(request_id, index, label)], model=model)

    def labels(
        self, labels: Sequence[Label], *, model: str | None = None, skip_unknown: bool = False
    ) -> LabelsTaken:
        """Send true classes, up to 10,000.

        Args:
            labels: one or more.
            model: whose answers they were; the server's default where None.
            skip_unknown: whether labels of answers that are not kept are left out; else nothing is taken.

        Raises:
            ClientError: as `label`.
            ValueError: no labels.
        """
        return self._ask(labels_call(self._named(model), labels, skip_unknown=skip_unknown))

    def ready(self) -> bool:
        """Return whether traffic can be sent now; a server that does not answer is not ready."""
        try:
            return self._once(ready_call(), self._attempts())
        except ClientError:
            return False

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client {str(self._url)!r}>"

    def _named(self, model: str | None) -> str:
        return default_of(self.models()) if model is None else model

    def _attempts(self) -> Attempts:
        return Attempts(self._backoff, self._timeout_seconds, self._clock)

    def _ask(self, call: Call[T]) -> T:
        attempts = self._attempts()
        while True:
            try:
                return self._once(call, attempts)
            except (NoAnswerError, ResponseError) as error:
                pause = attempts.pause_seconds(error)
                if pause is None:
                    raise
            self._sleep(pause)

    def _once(self, call: Call[T], attempts: Attempts) -> T:
        request = request_of(self._http, call, attempts.left_seconds())
        with explained(self._url):
            response = self._http.send(request, stream=True)
            try:
                receiving = Receiving(response, attempts)
                for chunk in response.iter_bytes():
                    receiving.add(chunk)
            finally:
                response.close()
        return call.result(receiving.reply())

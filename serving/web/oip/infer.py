"""Answers an inference request: the protocol on the outside, the path of `POST /classify` on the inside."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from serving.options import Priority
from serving.policy.budget import check_budget
from serving.repository.folder import ONLY_VERSION
from serving.repository.live import Version
from serving.web.classify import Classify
from serving.web.connection.caller import ClientConnection
from serving.web.oip.outputs import OutputTensor, tensors_of
from serving.web.oip.parameters import options_of
from serving.web.oip.request import InferRequest, wanted
from serving.web.oip.tensor_reader import TensorReader
from serving.web.served import ServedModel
from serving.web.service import Service

INLINE_BYTES = 16 * 1024
"""Requests of more bytes than this are taken apart by the threads that decode, not by the event loop."""


@dataclass(frozen=True)
class Inference:
    """The response to a caller.

    Args:
        model: the name of the model.
        request_id: as the request had it.
        tensors: those asked for.
        version: of the model that answered.
        budget_share: what a brown-out left of the budget; 1 where nothing lowered it.
    """

    model: str
    request_id: str
    tensors: Sequence[OutputTensor]
    version: str = ONLY_VERSION
    budget_share: float = 1.0


class Infer:
    """Answers requests, whichever way they came.

    Args:
        service: models, settings and threads.
        classify: the path that images take.
    """

    def __init__(self, service: Service, classify: Classify) -> None:
        self._service = service
        self._classify = classify

    async def start(
        self,
        version: Version[ServedModel],
        request: InferRequest,
        caller: ClientConnection,
        received_at: float,
        query: Mapping[str, str] | None = None,
        priority: Priority | None = None,
        server_id: str | None = None,
    ) -> Callable[[], Inference]:
        """Take one request to its end, or to the error that it is refused with.

        Args:
            version: who answers.
            request: what was sent.
            caller: who waits.
            received_at: the second of `time.monotonic` from which a deadline counts.
            query: parameters in the request's address.
            priority: the most urgent class that the caller has; None where it has none.
            server_id: the server's own id of the request; None where the caller does not know it.

        Returns:
            A function that returns the answer, or raises the model's error: that is no refusal.

        Raises:
            OfframpError: it is refused.
            ClientDisconnect: the caller has gone.
        """
        service, model = self._service, version.model
        service.refuse_if_stalled(model)
        outputs = wanted(request, model)
        ask = options_of(request.parameters, query or {}, model.name)
        if ask.budget is not None:
            check_budget(str(ask.budget), model.exit_flops, model.exit_seconds)
        reader = TensorReader(request.tensor, model.manifest.preprocessing, service.read_limits)
        job = await self._classify.run(model, ask, reader, caller, received_at, priority, server_id)
        classes = model.manifest.classes

        def answer() -> Inference:
            answers = job.answers()
            share = min((answer.budget_share for answer in answers), default=1.0)
            tensors = tensors_of(answers, outputs, classes)
            return Inference(model.name, request.request_id, tensors, version.number, share)

        return answer

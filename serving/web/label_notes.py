"""Notes the answers of a request, so that labels may come for them."""

from collections.abc import Callable, Mapping, Sequence
from itertools import count, islice

from serving.answer import Answer
from serving.monitoring.label_store import LabelStore, NotedAnswer
from serving.monitoring.state import bundle_hash
from serving.options import ClassifyOptions
from serving.web.service import ServedModel


class LabelNotes:
    """Notes the answers of one request and what the last exit says of its sampled images.

    Args:
        store: keeps them.
        model: that answers.
        request_id: the server's.
        ask: what the request asks for.
        max_drop: the guarantee of requests that ask for nothing else, if there is one.
        failures: returns the images of the request that could not be read, by their place; asked once all
            are read.
    """

    def __init__(
        self,
        store: LabelStore,
        model: ServedModel,
        request_id: str,
        ask: ClassifyOptions,
        max_drop: float | None,
        failures: Callable[[], Mapping[int, object]],
    ) -> None:
        self._store, self._model, self._request_id, self._failures = store, model, request_id, failures
        alone = ask.budget is None and ask.mode == "average" and ask.deadline_seconds is None
        self._max_drop = max_drop if alone and ask.max_drop is None else ask.max_drop
        self._by_thresholds = ask.mode == "average" and ask.deadline_seconds is None

    def told(self, place: int, class_index: int) -> None:
        """Note what the last exit says of the image in that place among those that were read."""
        self._store.note_final(self._request_id, self._place(place), class_index)

    def note(self, answers: Sequence[Answer]) -> None:
        """Note all answers of the request."""
        budget_decides = self._by_thresholds and self._max_drop is None
        self._store.note(
            [
                NotedAnswer(
                    bundle=bundle_hash(self._model.manifest),
                    request=self._request_id,
                    image=self._place(place),
                    exit=answer.exit,
                    class_index=answer.class_index,
                    budget_flops=answer.budget_flops if budget_decides else None,
                    max_drop=self._max_drop,
                )
                for place, answer in enumerate(answers)
            ]
        )

    def _place(self, place: int) -> int:
        failures = self._failures()
        if not failures:
            return place
        return next(islice((index for index in count() if index not in failures), place, None))

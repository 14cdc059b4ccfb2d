"""Notes the answers of a request, so that labels may come for them."""

from collections.abc import Iterator, Sequence
from itertools import count, islice

from serving.answer import Answer
from serving.monitoring.label_store import AnswerNotes, NotedAnswer
from serving.options import ClassifyOptions
from serving.web.job import ImageReader
from serving.web.served import ServedModel


def places(reader: ImageReader) -> Iterator[int]:
    """The places in the request of the images that were read; they have no end."""
    failures = reader.failures
    return (place for place in count() if place not in failures)


def place_of(reader: ImageReader, index: int) -> int:
    """The place in the request of an image that was read, by its index among those."""
    return next(islice(places(reader), index, None))


class LabelNotes:
    """Notes the answers of one request and what the last exit says of its sampled images.

    Args:
        store: keeps them.
        model: that answers.
        request_id: the server's.
        ask: what the request asks for.
        max_drop: the guarantee of requests that ask for nothing else, if there is one.
        reader: knows, once all images are read, which of them could not be.
    """

    def __init__(
        self,
        store: AnswerNotes,
        model: ServedModel,
        request_id: str,
        ask: ClassifyOptions,
        max_drop: float | None,
        reader: ImageReader,
    ) -> None:
        self._store, self._model, self._request_id, self._reader = store, model, request_id, reader
        alone = ask.budget is None and ask.mode == "average" and ask.deadline_seconds is None
        self._max_drop = max_drop if alone and ask.max_drop is None else ask.max_drop
        self._by_thresholds = ask.mode == "average" and ask.deadline_seconds is None

    def told(self, place: int, class_index: int) -> None:
        """Note what the last exit says of the image in that place among those that were read."""
        self._store.note_final(self._request_id, place_of(self._reader, place), class_index)

    def note(self, answers: Sequence[Answer]) -> None:
        """Note all answers of the request."""
        bundle = self._model.identity
        in_time = any(answer.budget_seconds is not None for answer in answers)
        budget_decides = self._by_thresholds and self._max_drop is None and not in_time
        self._store.note(
            [
                NotedAnswer(
                    bundle=bundle,
                    request=self._request_id,
                    image=place,
                    exit=answer.exit,
                    class_index=answer.class_index,
                    budget_flops=answer.budget_flops if budget_decides else None,
                    max_drop=self._max_drop,
                )
                for place, answer in zip(places(self._reader), answers, strict=False)
            ]
        )

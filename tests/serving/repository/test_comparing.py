from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest

from serving.answer import Answer
from serving.errors import RepositoryError
from serving.events import AnswersCompared
from serving.options import ClassifyOptions
from serving.repository.live import Split
from tests.serving.repository.fakes import Fake, Fixture, write


class Request:
    def __init__(self) -> None:
        self.future: Future[list[Answer]] = Future()


def ask(model: Fake, flops: int, *, explain: bool = False) -> None:
    """Have a model answer a request, as far as whoever watches it is concerned."""
    if model.on_submit is not None:
        request = Request()
        model.on_submit([], ClassifyOptions(explain=explain), request)
        request.future.set_result([Answer("ant", 0, flops / 100, 1, flops, 100.0, "pets")])


@pytest.fixture
def fixture(tmp_path: Path) -> Fixture:
    for number in ("1", "2"):
        write(tmp_path / "pets" / number, number)
    return Fixture(tmp_path, model_version="pets=1+2")


def test_a_canary_is_compared_while_it_runs_and_looked_back_on(fixture: Fixture) -> None:
    one, two = (fixture.live.slot("pets").versions[number].model for number in ("1", "2"))
    ask(one, 10)
    fixture.repository.set_canary("pets", Split("2", 0.5))
    for flops in (10, 20):
        ask(one, flops)
        ask(two, 3 * flops)
    ask(one, 99, explain=True)
    (comparison,) = fixture.repository.comparing.of("pets")
    assert [each.running for each in fixture.repository.comparing.of("pets")] == [True]
    assert (comparison.current.flops.mean, comparison.other.flops.mean) == (15.0, 45.0)
    fixture.repository.load("pets", "2")  # nothing new: it goes on
    assert fixture.repository.comparing.of("pets") == [comparison]
    fixture.repository.promote("pets", "2")
    ask(two, 1000)
    assert [each.running for each in fixture.repository.comparing.of("pets")] == [False]
    assert fixture.repository.comparing.of("pets") == [replace(comparison, running=False)]
    assert (comparison.current.requests, comparison.other.requests) == (2, 2)
    told = [event for event in fixture.events if isinstance(event, AnswersCompared)]
    assert [(event.version, event.role, event.flops) for event in told] == [
        ("1", "current", 10),
        ("2", "canary", 30),
        ("1", "current", 20),
        ("2", "canary", 60),
    ]


def test_a_failure_counts_and_a_caller_who_left_does_not(fixture: Fixture) -> None:
    fixture.repository.set_canary("pets", Split("2", 0.5))
    model = fixture.live["pets"]
    requests = [Request(), Request()]
    for request in requests:
        model.on_submit([], ClassifyOptions(), request)
    requests[0].future.set_exception(RuntimeError())
    requests[1].future.cancel()
    (comparison,) = fixture.repository.comparing.of("pets")
    assert (comparison.current.requests, comparison.current.failed) == (0, 1)


def test_a_shadow_must_take_the_same_images_and_know_the_same_classes(
    fixture: Fixture, tmp_path: Path
) -> None:
    with pytest.raises(RepositoryError, match="1 answers for 'pets' already"):
        fixture.repository.set_shadow("pets", Split("1", 0.5))
    folder = write(tmp_path / "cats")
    manifest = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(manifest.replace('"ant"', '"gnu"'))
    fixture.repository.load("cats")
    with pytest.raises(RepositoryError, match="cats cannot be a shadow of 'pets': it has other classes"):
        fixture.repository.set_shadow("pets", Split("cats", 0.5))
    fixture.repository.set_shadow("pets", Split("2", 0.5))
    assert fixture.live["pets"].on_submit is not None
    fixture.repository.set_shadow("pets", None)
    assert fixture.live["pets"].on_submit is None
    fixture.repository.unload("pets")
    assert fixture.repository.comparing.of("pets") == []

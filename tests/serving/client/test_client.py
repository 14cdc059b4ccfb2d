"""The client against a script of answers, and against a real server process."""

import io
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from serving.client import (
    Client,
    ClientError,
    Label,
    LabelsTaken,
    NoAnswerError,
    ResponseError,
    UnexpectedAnswerError,
    connecting,
)
from serving.errors import ImageError, OfframpError
from serving.model import Model
from tests.bundles import CLASSES, EXIT_FLOPS, tiny_images
from tests.serving.client.talking import KEY, Script, Step, Time, answered, between, refused

URL = "http://server"
ROOT = Path(__file__).parents[3]


def scripted(*steps: Step, retries: int = 3, timeout_seconds: float = 30.0) -> tuple[Client, Script, Time]:
    script, time = Script(*steps), Time()
    transport = httpx.MockTransport(script)
    client = Client(
        **{"base_url": URL, "key": KEY, "timeout_seconds": timeout_seconds, "retries": retries},  # type: ignore[arg-type]
        transport=transport,
        clock=time,
        sleep=time.sleep,
    )
    return client, script, time


def test_a_request_carries_key_and_query() -> None:
    client, script, _ = scripted(answered())
    (answer,) = client.classify(b"a file", "50%", priority="low")
    assert (answer.class_name, answer.request_id) == ("cat", "0-ab-1")
    (request,) = script.requests
    assert str(request.url) == "http://server/classify?budget=50%25&priority=low"
    assert request.headers["authorization"] == "Bearer a-key"
    assert request.headers["accept-encoding"] == "identity"
    assert request.content == b"a file"


def test_an_address_may_have_a_path() -> None:
    script = Script(answered())
    Client("http://proxy/offramp/", transport=httpx.MockTransport(script)).classify(b"a file")
    assert script.requests[0].url.path == "/offramp/classify"


def test_a_full_queue_is_waited_for() -> None:
    client, script, time = scripted(refused(429, retry_after="2"), refused(503), answered())
    (answer,) = client.classify(b"a file")
    assert answer.class_name == "cat"
    assert [request.content for request in script.requests] == [b"a file"] * 3
    assert between(time.pauses, (2.0, 2.1), (0.0, 0.2))


def test_a_lost_connection_is_tried_again() -> None:
    client, _, time = scripted(
        httpx.ConnectError("refused"), httpx.RemoteProtocolError("gone"), httpx.ReadError(""), answered()
    )
    assert client.classify(b"a file")[0].class_name == "cat"
    assert between(time.pauses, (0, 0.1), (0, 0.2), (0, 0.4))


def test_after_the_last_retry_the_error_stands() -> None:
    client, script, _ = scripted(*[refused(429, retry_after="1")] * 3, retries=2)
    with pytest.raises(ResponseError, match=r"^429: not now$"):
        client.classify(b"a file")
    assert len(script.requests) == 3


def test_without_retries_the_first_error_stands() -> None:
    client, _, time = scripted(httpx.ConnectError("refused"), retries=0)
    with pytest.raises(NoAnswerError, match=r"^no answer from http://server: refused$"):
        client.classify(b"a file")
    assert time.pauses == []


def test_a_refusal_of_the_request_itself_is_not_tried_again() -> None:
    client, script, _ = scripted(refused(422))
    with pytest.raises(ResponseError):
        client.classify(b"a file")
    assert len(script.requests) == 1


def test_a_pause_that_the_call_has_no_time_for_is_not_begun() -> None:
    client, _, time = scripted(refused(429, retry_after="60"), timeout_seconds=30)
    with pytest.raises(ResponseError, match="429"):
        client.classify(b"a file")
    assert time.pauses == []


def test_each_try_waits_no_longer_than_what_is_left() -> None:
    client, script, time = scripted(refused(429, retry_after="4"), answered(), timeout_seconds=10)
    client.classify(b"a file")
    first, second = (request.extensions["timeout"]["read"] for request in script.requests)
    assert (first, second) == (10.0, 10.0 - time.now)
    assert second < 6


def test_an_answer_that_trickles_ends_with_the_time() -> None:
    time = Time()

    def drops() -> Iterator[bytes]:
        while True:
            time.now += 3
            yield b" "

    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=drops()))
    client = Client(URL, timeout_seconds=10, transport=transport, clock=time, sleep=time.sleep)
    with pytest.raises(NoAnswerError, match=r"^no answer within 10 s$"):
        client.classify(b"a file")
    assert time.now == 12


def test_an_answer_without_end_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "MAX_ANSWER_BYTES", 1000)
    client, _, _ = scripted(httpx.Response(200, content=iter([b"x" * 600] * 1000)))
    with pytest.raises(UnexpectedAnswerError, match="at most 1,000 bytes"):
        client.classify(b"a file")


def test_damaged_compression_is_an_unexpected_answer() -> None:
    zipped = httpx.Response(200, stream=httpx.ByteStream(b"no gzip"), headers={"Content-Encoding": "gzip"})
    client, script, _ = scripted(zipped)
    with pytest.raises(UnexpectedAnswerError, match="unreadable answer from http://server"):
        client.classify(b"a file")
    assert len(script.requests) == 1


def test_an_image_that_cannot_be_read_is_not_sent() -> None:
    client, script, _ = scripted()
    with pytest.raises(ImageError, match="cannot read"):
        client.classify("nowhere.png")
    assert script.requests == []


def test_ready_asks_once_and_never_fails() -> None:
    for step, ready in ((httpx.Response(200), True), (refused(503), False), (httpx.ConnectError(""), False)):
        client, _, time = scripted(step)
        assert client.ready() is ready
        assert time.pauses == []


def test_the_default_model_is_asked_for_where_none_is_named() -> None:
    taken = {"new": 1, "same": 0, "contradicting": 0, "certifying": 0, "unknown": 0}
    model = {
        **{"name": "b", "alive": True, "classes": 4, "precision": "int8", "exits": []},
        **{"default_budget": "100%", "default_budget_flops": 1},
    }
    models = httpx.Response(200, json={"models": [model], "default_model": "b"})
    client, script, _ = scripted(models, httpx.Response(200, json=taken), httpx.Response(200, json=taken))
    assert client.label("0-ab-1", 0, "cat") == LabelsTaken(1, 0, 0, 0, 0)
    client.label("0-ab-1", 0, "cat", model="c")
    assert [request.url.path for request in script.requests] == [
        "/models",
        "/models/b/labels",
        "/models/c/labels",
    ]


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://server", "http://", "http://a:b", "/classify"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="expected an address such as http://localhost:8000"):
        Client(url)


@pytest.mark.parametrize("key", ["", "my key", "kéy", "key\r\nx: y"])
def test_a_key_that_no_header_can_hold_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="expected a key of printable ASCII") as caught:
        Client(URL, key)
    assert not key or key not in str(caught.value)


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan")])
def test_a_timeout_that_is_none_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="expected a timeout of more than 0 s"):
        Client(URL, timeout_seconds=seconds)


def test_it_shows_its_address_and_not_its_key() -> None:
    client = Client(URL, "secret", verify=ssl.create_default_context())
    assert repr(client) == "<Client 'http://server'>"


@pytest.fixture(scope="module")
def real(address: str) -> Iterator[Client]:
    with Client(address, KEY) as client:
        yield client


def test_a_real_server_answers_as_the_model_does(real: Client, folder: Path) -> None:
    images = tiny_images(3)
    with Model.load(folder) as model:
        expected = model.classify(images, "100%")
    with io.BytesIO() as file:
        Image.fromarray(images[2]).save(file, "PNG")
        mixed = [images[0], Image.fromarray(images[1]), file.getvalue()]
    for asked in (images, mixed):
        answers = real.classify(asked, "100%")
        assert [answer.class_name for answer in answers] == [answer.class_name for answer in expected]
        assert [answer.index for answer in answers] == [0, 1, 2]
        assert {answer.flops for answer in answers} == {EXIT_FLOPS[-1]}
        np.testing.assert_allclose(
            [answer.confidence for answer in answers], [answer.confidence for answer in expected], rtol=1e-5
        )


def test_a_real_server_takes_every_option(real: Client) -> None:
    (answer,) = real.classify(
        tiny_images(1),
        "8ms",
        model="tiny",
        max_drop=0.5,
        top_k=2,
        probabilities=True,
        priority="low",
        explain=True,
    )
    assert answer.exits is not None
    assert len(answer.exits) == len(EXIT_FLOPS)
    assert answer.likeliest is not None
    assert answer.likeliest[0].class_name == answer.class_name
    assert answer.top(1)[0][0] == answer.class_index
    assert real.classify(tiny_images(1), mode="hard", deadline_seconds=20)[0].deadline_met


def test_a_real_server_says_what_it_serves_and_expects(real: Client) -> None:
    (model,) = real.models()
    assert (model.name, model.alive, model.classes, model.is_default) == ("tiny", True, len(CLASSES), True)
    assert tuple(found.flops for found in model.exits) == EXIT_FLOPS
    plan = real.plan("50%")
    assert plan.budget_flops == 0.5 * EXIT_FLOPS[-1]
    assert sum(found.share for found in plan.exits) == pytest.approx(1)
    assert real.ready()


def test_a_real_server_takes_labels(real: Client) -> None:
    first, second = real.classify(tiny_images(2))
    assert real.label(first.request_id, first.index, "cat").new == 1
    taken = real.labels(
        [Label(first.request_id, 0, "cat"), Label(second.request_id, 1, 0), Label("none", 0, 0)],
        model="tiny",
        skip_unknown=True,
    )
    assert (taken.same, taken.new, taken.unknown) == (1, 1, 1)
    with pytest.raises(ResponseError, match="404: "):
        real.label("none", 0, "cat")


def test_a_real_server_refuses_in_its_own_words(real: Client, address: str) -> None:
    with pytest.raises(ResponseError, match="expected 1 to 4 images, found 5") as caught:
        real.classify(tiny_images(5))
    assert caught.value.status == 422
    assert caught.value.type == "urn:offramp:problem:unreadable-image"
    assert caught.value.request_id
    with Client(address) as stranger, pytest.raises(OfframpError, match="401: "):
        stranger.classify(tiny_images(1))


@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_the_example_of_a_page_runs(page: str, address: str, tmp_path: Path) -> None:
    text = (ROOT / page).read_text()
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "Client(" in block)
    with_key = re.sub(r'Client\("http://[^"]+"\)', f"Client({address!r}, {KEY!r})", code)
    Image.fromarray(tiny_images(1)[0]).save(tmp_path / "photo.png")
    files = {'"docs/images/horse.png"', '"photo.png"'}
    for name in files:
        with_key = with_key.replace(name, repr(str(tmp_path / "photo.png")))
    done = subprocess.run(
        [sys.executable, "-c", with_key.replace("30MFLOPs", "50%")], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stderr == ""
    assert done.stdout.split()[0] in CLASSES


def test_threads_share_a_client(real: Client) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda image: real.classify(image)[0], tiny_images(12)))
    assert len({answer.request_id for answer in answers}) == 12


def test_a_server_that_is_not_there_is_named() -> None:
    with (
        Client("http://127.0.0.1:1", retries=0) as client,
        pytest.raises(ClientError, match=r"127\.0\.0\.1:1"),
    ):
        client.models()

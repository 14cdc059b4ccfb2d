"""Requests that go through a link to another process's routes, and what comes back."""

import asyncio
from concurrent.futures import Future
from typing import Any

import httpx
import structlog
from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.processes.link import Link
from serving.processes.relay import ANSWER, Relay, answering, brings_images
from serving.settings import Settings
from serving.web.reading.byte_budget import ByteBudget
from tests.serving.processes.linked import linked

SETTINGS = Settings(max_body_bytes=1000)


def other_app() -> FastAPI:
    app = FastAPI()

    @app.post("/models/{model}/labels")
    async def labels(request: Request, model: str) -> Response:
        body = (await request.body()).decode()
        request.scope["state"]["model_version"] = "2"
        found = [model, body, request.state.request_id, request.headers["x-own"], request.url.query]
        return JSONResponse(found, status_code=202, headers={"X-Back": "yes"})

    @app.get("/broken")
    async def broken() -> Response:
        raise RuntimeError("not to be seen")

    return app


async def own(scope: Scope, receive: Receive, send: Send) -> None:
    await Response("own")(scope, receive, send)


def ask(method: str, path: str, *, gone: bool = False, **given: Any) -> tuple[httpx.Response, dict[str, Any]]:
    """Ask a process that has everything but `/own` answered by another."""
    seen: dict[str, Any] = {}

    async def scenario() -> httpx.Response:
        loop: Future[asyncio.AbstractEventLoop] = Future()
        loop.set_result(asyncio.get_running_loop())
        app: Future[ASGIApp] = Future()
        app.set_result(other_app())
        with linked({ANSWER: answering(app, loop)}) as (link, other):
            if gone:
                await asyncio.to_thread(hang_up, link, other)
            relay = Relay(
                own,
                lambda scope: scope["path"] != "/own",
                lambda: link,
                SETTINGS,
                ByteBudget(10_000),
                structlog.get_logger(),
            )

            async def gate(scope: Scope, receive: Receive, send: Send) -> None:
                scope["state"] = {"request_id": "1-ab-7"}
                await relay(scope, receive, send)
                seen.update(route=getattr(scope.get("route"), "path", None), state=scope["state"])

            transport = httpx.ASGITransport(gate)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await client.request(method, path, **given)

    return asyncio.run(scenario()), seen


def hang_up(link: Link, other: Link) -> None:
    other.close()
    while link.call(ANSWER, {}, b"").exception(20) is None:
        pass


def test_a_request_comes_whole_to_the_other_process_and_its_answer_comes_back() -> None:
    headers = {"X-Own": "1"}
    response, seen = ask("POST", "/models/pets/labels?on_unknown=skip", content=b"{}", headers=headers)
    assert response.status_code == 202
    assert response.json() == ["pets", "{}", "1-ab-7", "1", "on_unknown=skip"]
    assert response.headers["x-back"] == "yes"
    assert seen["route"] == "/models/{model}/labels"
    assert (seen["state"]["model_version"], seen["state"]["received_bytes"]) == ("2", 2)


def test_what_is_ones_own_is_answered_here() -> None:
    assert ask("GET", "/own")[0].text == "own"


def test_a_body_over_the_limit_goes_nowhere() -> None:
    response, seen = ask("POST", "/models/pets/labels", content=bytes(1001))
    assert (response.status_code, seen["route"]) == (413, None)


def test_a_route_that_fails_there_is_a_failure_here_without_what_it_said() -> None:
    response, _ = ask("GET", "/broken")
    assert response.status_code == 500
    assert "not to be seen" not in response.text


def test_a_process_that_has_gone_is_a_503() -> None:
    response, _ = ask("GET", "/models", gone=True)
    assert response.status_code == 503


def test_images_go_to_those_who_compute_and_all_else_to_the_parent() -> None:
    def images(method: str, path: str) -> bool:
        return brings_images({"method": method, "path": path})

    assert images("POST", "/classify")
    assert images("POST", "/v2/models/pets/infer")
    assert images("POST", "/v2/models/pets/versions/2/infer")
    assert not images("GET", "/classify")
    assert not images("POST", "/v2/repository/models/pets/load")
    assert not images("POST", "/models/pets/labels")

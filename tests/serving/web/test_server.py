import asyncio
import signal
import socket

import pytest

from serving.errors import OfframpError
from serving.web.server import Server, reserve
from serving.web.service import Service
from tests.serving.web.fakes import fake_service


class Clock:
    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def make_server(drain_seconds: float = 5) -> tuple[Server, Service, Clock]:
    async def app(scope: object, receive: object, send: object) -> None:
        raise AssertionError("no request is sent")

    service, _ = fake_service(drain_seconds=drain_seconds)
    clock = Clock()
    return Server(app, service, started=lambda: None, clock=clock), service, clock


def stops(server: Server) -> bool:
    return asyncio.run(server.on_tick(1))


def test_it_serves_until_told_to_stop() -> None:
    server, service, _ = make_server()
    assert not stops(server)
    assert service.unready is None


def test_sigterm_turns_readiness_first_and_stops_after_the_drain() -> None:
    server, service, clock = make_server(drain_seconds=5)
    server.handle_exit(signal.SIGTERM, None)
    assert service.unready == "the server is shutting down"
    clock.seconds += 4.9
    assert not stops(server)
    clock.seconds += 0.1
    assert stops(server)
    assert not server.force_exit


def test_sigint_skips_the_drain() -> None:
    server, service, _ = make_server()
    server.handle_exit(signal.SIGINT, None)
    assert service.draining
    assert stops(server)


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_hurries_and_a_third_gives_up(second: signal.Signals) -> None:
    server, _, clock = make_server()
    server.handle_exit(signal.SIGTERM, None)
    clock.seconds += 1
    server.handle_exit(second, None)
    assert stops(server)
    assert not server.force_exit
    server.handle_exit(second, None)
    assert server.force_exit


def test_a_free_port_can_be_had_and_a_taken_one_is_named() -> None:
    with reserve("127.0.0.1", 0) as reserved:
        reserved.listen()
        port = reserved.getsockname()[1]
        with pytest.raises(OfframpError, match=f"port {port}: Address already in use"):
            reserve("127.0.0.1", port)


@pytest.mark.skipif(not socket.has_ipv6, reason="the host has no IPv6")
def test_an_address_may_be_ipv6() -> None:
    with reserve("::1", 0) as reserved:
        assert reserved.family is socket.AF_INET6

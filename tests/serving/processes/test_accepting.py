"""Two that accept from one socket, here in one event loop, on real connections."""

import asyncio
import socket
from contextlib import ExitStack

import structlog

from serving.processes.accepting import GONE, Accepting, ConnectionCounts


class Process:
    """What a process has of a shared socket, and its connections."""

    def __init__(self, number: int, listening: socket.socket, counts: ConnectionCounts) -> None:
        self.connections: list[socket.socket] = []
        self.accepting = Accepting(
            listening.dup(), self.take, lambda: len(self.connections), number, counts, structlog.get_logger()
        )

    async def take(self, connection: socket.socket) -> None:
        self.connections.append(connection)


async def accepted(processes: list[Process], count: int) -> None:
    """Wait until so many connections were accepted in all."""
    async with asyncio.timeout(20):
        while sum(len(process.connections) for process in processes) < count:
            await asyncio.sleep(0.001)


def test_connections_go_to_whoever_has_fewest_and_to_the_others_once_it_has_gone() -> None:
    async def scenario(stack: ExitStack) -> None:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        address, counts = listening.getsockname(), ConnectionCounts.create()
        processes = [Process(number, listening, counts) for number in (1, 2)]

        async def connect(times: int) -> None:
            before = sum(len(process.connections) for process in processes)
            for _ in range(times):  # all at once, as a load balancer does
                stack.enter_context(socket.create_connection(address))
            await accepted(processes, before + times)

        for process in processes:
            process.accepting.start()
        await connect(8)
        assert [len(process.connections) for process in processes] == [4, 4]

        for connection in processes[0].connections:
            stack.enter_context(connection)
        processes[0].connections.clear()
        processes[0].accepting.tell()
        await connect(4)
        assert [len(process.connections) for process in processes] == [4, 4]

        processes[1].accepting.close()
        processes[0].accepting.tell()
        assert counts.fewest() == 4
        await connect(3)
        assert [len(process.connections) for process in processes] == [7, 4]
        processes[0].accepting.close()
        processes[0].accepting.close()  # may be called again
        assert counts.fewest() == GONE
        for process in processes:
            for connection in process.connections:
                stack.enter_context(connection)

    with ExitStack() as stack:
        asyncio.run(scenario(stack))


def test_one_that_counts_as_having_none_and_does_not_come_keeps_nobody_out() -> None:
    async def scenario(stack: ExitStack) -> None:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        counts = ConnectionCounts.create()
        process = Process(1, listening, counts)
        counts.set(2, 0)  # it hangs
        process.accepting.start()
        for _ in range(5):
            stack.enter_context(socket.create_connection(listening.getsockname()))
        await accepted([process], 5)
        process.accepting.close()
        for connection in process.connections:
            stack.enter_context(connection)

    with ExitStack() as stack:
        asyncio.run(scenario(stack))

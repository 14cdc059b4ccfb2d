"""The log's own thread: nobody who logs waits for it, whatever becomes of the file."""

import json
import os

from serving.telemetry.log_writer import LogWriter


def test_lines_are_written_in_order_and_all_of_them_on_closing() -> None:
    read, write = os.pipe()
    writer = LogWriter(write)
    for number in range(100):
        writer.write(str(number))
    writer.close(30)
    os.close(write)
    with os.fdopen(read) as stream:
        assert stream.read().split() == [str(number) for number in range(100)]


def test_a_pipe_that_nobody_reads_costs_lines_and_no_time_and_the_count_is_told() -> None:
    read, write = os.pipe()
    writer = LogWriter(write, most_lines=10)
    line = "x" * 10_000
    for _ in range(200):
        writer.write(line)
    assert writer.dropped >= 200 - 10 - 65536 // 10_000 - 11
    writer.close(0)
    received = b""
    while b"log_lines_dropped" not in received or not received.endswith(b"}\n"):
        received += os.read(read, 65536)
    told = json.loads(received.splitlines()[-1])
    assert told == {"event": "log_lines_dropped", "lines": writer.dropped}


def test_a_closed_pipe_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    writer = LogWriter(write)
    writer.write("to no one")
    writer.close(30)
    os.close(write)
    assert writer.dropped == 1


def test_text_that_is_no_unicode_is_escaped() -> None:
    read, write = os.pipe()
    writer = LogWriter(write)
    writer.write("\udcff")
    writer.close(30)
    assert os.read(read, 100) == b"\\udcff\n"

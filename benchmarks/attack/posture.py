"""Kind 15: keys, hosts, ports, TLS and the limit on connections, tried by who has no right to anything."""

import hashlib
import secrets
import ssl
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

from benchmarks.attack import nets
from benchmarks.attack.finding import Finding, at_most, is_in, none_of
from benchmarks.attack.target import Target, post, serving
from tests.tls import certificate

_MOST_CONNECTIONS = 30
_SECRET_PATHS = ("/metrics", "/docs", "/openapi.json", "/docs/assets/swagger-ui.css", "/")


def attack() -> Iterator[Finding]:
    """Ask without a key, under other names, on the wrong port, too often, in the clear."""
    with tempfile.TemporaryDirectory() as folder:
        yield from _keys_and_ports(Path(folder))
        yield from _tls(Path(folder))


def _keys_and_ports(folder: Path) -> Iterator[Finding]:
    keys = {name: secrets.token_urlsafe(32) for name in ("ann", "bob")}
    file, log = folder / "keys", folder / "log"
    lines = {name: f"{name}:normal:{hashlib.sha256(key.encode()).hexdigest()}" for name, key in keys.items()}
    file.write_text(f"{lines['ann']}\n{lines['bob']}:requests=5\n")
    flags = (
        "--api-keys-file",
        str(file),
        "--admin-port",
        "0",
        "--access-log",
        "--max-connections",
        str(_MOST_CONNECTIONS),
    )
    with log.open("wb") as stream, serving(nets.tiny(folder / "models"), *flags, stderr=stream) as target:
        ann = {"Authorization": f"Bearer {keys['ann']}"}
        yield is_in("with a key", target.ask("/classify", nets.png(), headers=ann)[0], (200,))
        yield from _without_a_key(target, keys["ann"], lines["ann"].rpartition(":")[2])
        yield from _other_hosts(target, ann)
        yield from _other_port(target, ann)
        yield from _too_often(target, ann, {"Authorization": f"Bearer {keys['bob']}"})
        yield from _too_many_connections(target, ann)
        file.write_text(f"{lines['bob']}\n")
        time.sleep(1.2)  # it looks once a second
        yield is_in("a key taken out of the file", target.ask("/models", headers=ann)[0], (401,))
        file.write_text("nonsense\n")
        time.sleep(1.2)
        bob = {"Authorization": f"Bearer {keys['bob']}"}
        yield is_in("a key while the file is nonsense", target.ask("/models", headers=bob)[0], (200,))
    text = log.read_text()
    yield is_in("keys in the log", sum(key in text for key in keys.values()), (0,))
    yield is_in("tracebacks in the log", text.count("Traceback"), (0,))


def _without_a_key(target: Target, key: str, sha256: str) -> Iterator[Finding]:
    shapes = {
        "no header": {},
        "an empty one": {"Authorization": ""},
        "another key": {"Authorization": "Bearer " + secrets.token_urlsafe(32)},
        "the file's hash": {"Authorization": f"Bearer {sha256}"},
        "half of it": {"Authorization": f"Bearer {key[:20]}"},
        "another scheme": {"Authorization": f"Basic {key}"},
        "no scheme": {"Authorization": key},
        "twice": {"Authorization": f"Bearer {key} {key}"},
        "bytes that are no ASCII": {"Authorization": "Bearer \xff\xfe"},
        "60 KB": {"Authorization": "Bearer " + 60_000 * "a"},
        "another header": {"Proxy-Authorization": f"Bearer {key}", "X-API-Key": key},
    }
    let_in = [name for name, given in shapes.items() if target.ask("/models", headers=given)[0] != 401]
    yield none_of(f"{len(shapes)} shapes of no key: let in", let_in)
    targets = (
        "/models?key=" + secrets.token_urlsafe(32),
        "//models",
        "/./models",
        "/v2/health/../../models",
        "/v2/health/ready/../models",
        "/%6dodels",
        "/models%00",
        "/v2/health/ready;/models",
        "http://localhost/models",
        "/V2/health/ready",
        "*",
    )
    answers = {
        path: _status(
            target.raw(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        )
        for path in targets
    }
    let_in = [path for path, status in answers.items() if status not in (400, 401, 404)]
    yield none_of(f"{len(targets)} ways to write a path: let in", let_in)
    first = b"GET /v2/health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n"
    behind = target.raw(first + post(nets.png()).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
    yield is_in("behind a request that needs none", behind.count(b" 200 "), (1,))
    yield is_in("health without one", target.ask("/v2/health/ready")[0], (200,))


def _other_hosts(target: Target, ann: dict[str, str]) -> Iterator[Finding]:
    names = (
        "evil.test",
        "localhost.evil.test",
        "evil.test:80",
        "127.0.0.1.nip.test",
        "localhost@evil.test",
        "[::2]",
        "0",
    )
    statuses = {name: target.ask("/models", headers={**ann, "Host": name})[0] for name in names}
    let_in = [name for name, status in statuses.items() if status not in (400, 421)]
    yield none_of(f"{len(names)} names that are not the server's: answered", let_in)
    head = "GET http://evil.test/models HTTP/1.1\r\nHost: evil.test\r\n"
    head += f"Authorization: {ann['Authorization']}\r\n"
    yield is_in(
        "the same in the request line",
        _status(target.raw(f"{head}Connection: close\r\n\r\n".encode())),
        (400, 421),
    )


def _other_port(target: Target, ann: dict[str, str]) -> Iterator[Finding]:
    paths = (
        *_SECRET_PATHS,
        "/models/../metrics",
        "/classify/../metrics",
        "/models/%2e%2e/metrics",
        "/metrics/",
        "//metrics",
    )
    seen = [
        path
        for path in paths
        if b"offramp_" in (found := target.ask(path, headers=ann))[1] and found[0] == 200
    ]
    yield none_of("the admin port's pages on the public one", seen)
    admin = Target(target.process, target.admin_port or 0)
    yield is_in(
        "/metrics there without a key, and with one",
        (admin.ask("/metrics")[0], admin.ask("/metrics", headers=ann)[0]),
        ((401, 200),),
    )
    change = target.ask("/v2/repository/models/tiny/unload", b"{}", headers=ann)[0]
    yield is_in("unloading a model on the public port", change, (401, 403, 404, 405))


def _too_often(target: Target, ann: dict[str, str], bob: dict[str, str]) -> Iterator[Finding]:
    """Ask 60 times with a key that may ask five times a second, and with another one in between."""
    started, others = time.monotonic(), set[int]()
    statuses = [target.ask("/classify", nets.png(), headers=bob)[0] for _ in range(60)]
    others.add(target.ask("/classify", nets.png(), headers=ann)[0])
    allowed = 5 + 5 * (time.monotonic() - started)
    yield is_in("answers to a key over its limit", sorted(set(statuses)), ([200, 429],))
    yield at_most("of 60, answered", statuses.count(200), allowed + 1, "requests")
    yield is_in("the other key meanwhile", others, ({200},))


def _too_many_connections(target: Target, ann: dict[str, str]) -> Iterator[Finding]:
    with ExitStack() as stack:
        for _ in range(2 * _MOST_CONNECTIONS):
            with suppress(OSError):
                stack.enter_context(target.connect(timeout=2))
        time.sleep(0.3)
        descriptors = len(list(Path(f"/proc/{target.process.pid}/fd").iterdir()))
        yield at_most(
            "descriptors under twice the connections allowed",
            descriptors,
            _MOST_CONNECTIONS + 25,
            "descriptors",
        )
    time.sleep(0.5)
    yield is_in("a caller after them", target.ask("/models", headers=ann)[0], (200,))


def _tls(folder: Path) -> Iterator[Finding]:
    """Speak in the clear, with an old version, or not at all; then give the server another certificate."""
    (cert, key), log = certificate(folder), folder / "tls-log"
    flags = ("--tls-cert", str(cert), "--tls-key", str(key), "--max-connections", str(_MOST_CONNECTIONS))
    with log.open("wb") as stream, serving(nets.tiny(folder / "tls-models"), *flags, stderr=stream) as target:
        yield is_in("over TLS", _over_tls(target, cert), (200,))
        clear = target.raw(b"GET /models HTTP/1.1\r\nHost: localhost\r\n\r\n", timeout=3)
        yield is_in("in the clear", b"HTTP/1.1 200" in clear, (False,))
        yield is_in("TLS 1.1", _old_version(target), ("refused",))
        with ExitStack() as stack:
            for _ in range(2 * _MOST_CONNECTIONS):
                with suppress(OSError):
                    stack.enter_context(target.connect(timeout=2))
            time.sleep(0.3)
            yield is_in(
                f"beside {2 * _MOST_CONNECTIONS} that never begin to speak it",
                _over_tls(target, cert),
                (200, 503),
            )
        old = ssl.PEM_cert_to_DER_cert(cert.read_text())
        certificate(folder, "second")
        new, until = ssl.PEM_cert_to_DER_cert(cert.read_text()), time.monotonic() + 8
        while (shown := _shown(target)) == old and time.monotonic() < until:
            time.sleep(0.2)
        yield is_in("a new certificate is shown", shown == new, (True,))
    yield is_in("tracebacks in its log", log.read_text().count("Traceback"), (0,))


def _over_tls(target: Target, cert: Path) -> int:
    context = ssl.create_default_context(cafile=str(cert))
    with context.wrap_socket(target.connect(), server_hostname="localhost") as connection:
        connection.sendall(post(nets.png()).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
        received = b""
        with suppress(OSError):
            while chunk := connection.recv(65536):
                received += chunk
    return _status(received)


def _old_version(target: Target) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    try:
        with context.wrap_socket(target.connect()) as connection:
            return str(connection.version())
    except OSError:
        return "refused"


def _shown(target: Target) -> bytes | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with context.wrap_socket(target.connect()) as connection:
        return connection.getpeercert(binary_form=True)


def _status(answer: bytes) -> int:
    return int(answer[9:12]) if answer[:7] == b"HTTP/1." else 0

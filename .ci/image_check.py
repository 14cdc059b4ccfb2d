"""Build the image without a container engine, run it as one would, and ask it: `make image-check`.

Wants root on Debian. buildah (with chroot isolation) and debootstrap come from Debian's packages, unpacked
into the folder named and not installed. The base is a Debian made by debootstrap, with its own Python, in
place of the Dockerfile's `python:3.11-slim`: no container registry is needed.

    python .ci/image_check.py FOLDER
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (
    *("buildah", "containernetworking-plugins", "debootstrap", "libgpgme11", "libsubid4"),
    "patchelf",
)
BASE, IMAGE = "localhost/offramp-base", "localhost/offramp"
PATIENCE_SECONDS = 120
MODEL = "cifar10-ladder-int8"
# Certificates of this machine, mounted while the image is built and no part of it, as is pip's configuration.
CERTIFICATES = ("/etc/ssl/certs", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates")


class CheckError(Exception):
    """A check that the image did not pass, or a tool that is missing."""


def run(*words: object, **options: Any) -> str:
    """Run a program and return its standard output.

    Raises:
        CheckError: it failed; the text has the end of what it said.
    """
    told = [str(word) for word in words]
    done = subprocess.run(told, check=False, capture_output=True, text=True, **options)  # noqa: S603
    if done.returncode != 0:
        end = "\n".join((done.stdout + done.stderr).strip().splitlines()[-25:])
        raise CheckError(f"{words[0]} ended with {done.returncode}:\n{end}")
    said: str = done.stdout
    return said


class Tools:
    """Programs of Debian's packages, unpacked below a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "tools"
        self._environment = {
            **os.environ,
            "LD_LIBRARY_PATH": str(next(iter(self.folder.glob("usr/lib/*-linux-gnu")), "")),
            "DEBOOTSTRAP_DIR": str(self.folder / "usr/share/debootstrap"),
            "BUILDAH_ISOLATION": "chroot",
        }
        self._store = (
            *("--root", folder / "storage", "--runroot", folder / "run", "--storage-driver", "vfs"),
        )
        self._policy = folder / "policy.json"

    @classmethod
    def unpacked(cls, folder: Path) -> "Tools":
        """Unpack them, unless they are there."""
        target = folder / "tools"
        if not (target / "usr/bin/buildah").exists():
            packages = folder / "packages"
            packages.mkdir(parents=True, exist_ok=True)
            run("apt-get", "-qq", "update")
            run("apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *PACKAGES, cwd=packages)
            for package in sorted(packages.glob("*.deb")):
                run("dpkg-deb", "--extract", package, target)
            # What buildah starts in the chroot has no LD_LIBRARY_PATH.
            libraries = next(iter(target.glob("usr/lib/*-linux-gnu")))
            words = ("--force-rpath", "--set-rpath", libraries.absolute(), target / "usr/bin/buildah")
            run(target / "usr/bin/patchelf", *words)
        made = cls(folder)
        # What an installed package would say: images may come from here, without a signature.
        made._policy.write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
        return made

    def buildah(self, command: str, *words: object) -> str:
        """Run a command of buildah over storage of its own."""
        signed = ("--signature-policy", self._policy) if command in ("build", "commit", "from") else ()
        program = self.folder / "usr/bin/buildah"
        return run(program, *self._store, command, *signed, *words, env=self._environment).strip()

    def debootstrap(self, target: Path) -> None:
        """Put a small Debian with Python into a folder."""
        release = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(), re.MULTILINE)
        policy = run("apt-cache", "policy")
        mirror = release and re.search(rf"(\S+://\S+) {release[1]}/main", policy)
        if release is None or mirror is None:
            raise CheckError("no mirror of Debian among apt's sources")
        run(
            self.folder / "usr/sbin/debootstrap",
            *("--variant=minbase", "--include=python3-venv,ca-certificates", release[1], target, mirror[1]),
            env=self._environment,
        )
        for unneeded in ("var/cache/apt/archives", "var/lib/apt/lists"):
            shutil.rmtree(target / unneeded, ignore_errors=True)
        (target / "usr/bin/python").symlink_to("python3")


def make_base(tools: Tools, folder: Path) -> None:
    """Make the image that the Dockerfile's stages start from here."""
    if BASE in tools.buildah("images", "--format", "{{.Name}}").split():
        return
    system = folder / "debian"
    if not (system / "usr/bin/python").exists():
        shutil.rmtree(system, ignore_errors=True)
        tools.debootstrap(system)
    container = tools.buildah("from", "scratch")
    tools.buildah("add", "--quiet", container, system, "/")
    tools.buildah("commit", "--quiet", "--rm", container, BASE)


def build(tools: Tools, folder: Path) -> None:
    """Build the Dockerfile; pip there reaches what pip here does."""
    settings = folder / "pip.conf"
    settings.write_text("\n".join(["[global]", *_pip_settings()]) + "\n")
    places = {settings: "/etc/pip.conf", **{Path(place): place for place in CERTIFICATES}}
    mounts = [f"--volume={here}:{there}:ro" for here, there in places.items() if here.exists()]
    arguments = ("--isolation=chroot", "--format=docker", f"--build-arg=BASE={BASE}", "--tag", IMAGE)
    tools.buildah("build", *arguments, *mounts, ROOT)


def _pip_settings() -> Iterator[str]:
    for line in run(sys.executable, "-m", "pip", "config", "list").splitlines():
        name, _, value = line.partition("=")
        if name.startswith("global."):
            yield f"{name.removeprefix('global.')} = {value.strip(chr(39))}"


def size_of(system: Path) -> int:
    """Return the bytes of all files."""
    return int(run("du", "--summarize", "--block-size=1", system).split()[0])


def check_files(system: Path) -> None:
    """Hold the image to what the documentation says of it.

    Raises:
        CheckError: it is otherwise.
    """
    names = {path.name for path in system.glob("opt/offramp/**/*.so")}
    if unwanted := {name for name in names if "providers_cuda" in name or "providers_tensorrt" in name}:
        raise CheckError(f"the CPU's image holds {', '.join(sorted(unwanted))}")
    if found := list(system.glob("opt/offramp/lib/python*/site-packages/torch")):
        raise CheckError(f"the server's image holds {found[0]}")


@contextmanager
def served(system: Path, config: Mapping[str, Any], port: int) -> Iterator[subprocess.Popen[str]]:
    """Run the image: its entry point, its user and its variables, over a root that cannot be written.

    Args:
        system: the image's files.
        config: of the image.
        port: as `OFFRAMP_PORT`.
    """
    words = [*config["Entrypoint"], "--default-model", MODEL]
    process = subprocess.Popen(  # noqa: S603
        _inside(system, config, words, port), stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        if process.stdout is None or not process.stdout.readline():
            raise CheckError(f"the server ended with {process.wait()}")
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _inside(system: Path, config: Mapping[str, Any], words: Sequence[str], port: int) -> list[str]:
    user = run("sed", "-n", f"s/^{config['User']}:x:\\([0-9]*\\):.*/\\1/p", system / "etc/passwd").strip()
    variables = [*config["Env"], f"OFFRAMP_PORT={port}", "OFFRAMP_HOST=127.0.0.1"]
    # Mounts of a namespace of its own: the root becomes read-only, the bundles come below /models.
    prepare = (
        'mount --bind "$1" "$1" && mount --bind "$2" "$1/models" && mount -o remount,bind,ro "$1/models" && '
        'mount -o remount,bind,ro "$1" && root="$1" && shift 2 && exec chroot "$root" "$@"'
    )
    drop = ("/usr/bin/setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups")
    limits = ("--no-new-privs", "--bounding-set=-all", "--inh-caps=-all")
    models = ROOT / "exported_models"
    return [
        *("unshare", "--mount", "sh", "-c", prepare, "sh", str(system), str(models)),
        *(*drop, *limits, "/usr/bin/env", "-i", *variables, *words),
    ]


def ask(url: str, image: Path | None = None) -> Any:
    """Send a request as the README's curl does, and return what the answer's JSON says."""
    data = None if image is None else image.read_bytes()
    headers = {"Content-Type": "image/png"} if data else {}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(url, data, headers), timeout=PATIENCE_SECONDS) as answer:  # noqa: S310
        return json.loads(answer.read() or b"null")


def check_server(system: Path, config: Mapping[str, Any]) -> None:
    """Run the image and ask it.

    Raises:
        CheckError: an answer is not as the README says, or the process can do what it should not.
    """
    if config["User"] in ("", "0", "root"):
        raise CheckError("the image runs as root")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    with served(system, config, port) as process:
        url = f"http://127.0.0.1:{port}"
        horse = ask(f"{url}/classify?budget=30MFLOPs", ROOT / "docs/images/horse.png")
        if horse["class_name"] != "horse" or horse["exit"] != 1:
            raise CheckError(f"expected a horse at exit 1, as the README says, found {horse}")
        status = Path(f"/proc/{process.pid}/status").read_text()
        if re.search(r"^Uid:\s+0", status, re.MULTILINE) or not re.search(
            r"^CapEff:\s+0+$", status, re.MULTILINE
        ):
            raise CheckError("the server runs as root, or with capabilities")
        test = config["Healthcheck"]["Test"]
        run(*_inside(system, config, test[1:], port))
        for words, what in (
            (test[1:], "the health check passes where nothing listens"),
            (("/bin/sh", "-c", "echo x > /opt/offramp/x"), "the root can be written"),
        ):
            try:
                run(*_inside(system, config, list(words), 9))
            except CheckError:
                continue
            raise CheckError(what)
        process.send_signal(signal.SIGTERM)
        if (ended := process.wait(PATIENCE_SECONDS)) != 0:
            raise CheckError(f"SIGTERM ended the server with {ended}")


def main(words: Sequence[str]) -> int:
    """Build, check, and say what was found."""
    if len(words) != 1:
        print("usage: image_check.py FOLDER", file=sys.stderr)
        return 2
    started, folder = time.monotonic(), Path(words[0]).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        tools = Tools.unpacked(folder)
        make_base(tools, folder)
        build(tools, folder)
        config = json.loads(tools.buildah("inspect", "--type=image", IMAGE))["Docker"]["config"]
        container = tools.buildah("from", "--pull-never", IMAGE)
        system = Path(tools.buildah("mount", container))
        try:
            (system / "models").mkdir(exist_ok=True)
            check_files(system)
            check_server(system, config)
            whole, own = size_of(system), size_of(system / "opt/offramp")
        finally:
            tools.buildah("umount", container)
            tools.buildah("rm", container)
    except (CheckError, OSError, urllib.error.URLError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(
        f"The image answers the README's request as a user without rights over a read-only root. "
        f"{whole / 1e6:,.0f} MB, {own / 1e6:,.0f} MB of them Offramp and its packages; "
        f"{time.monotonic() - started:,.0f} s."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The settings of the server, each a flag (`--max-images 8`) or a variable (`OFFRAMP_MAX_IMAGES=8`).

An empty variable, or one of blanks, is one that was not given. Numbers have limits, so that a slip ends in a
message and not in an error of the system.
"""

import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, ByteSize, Field, ValidationInfo, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from serving import command_line
from serving.engine.backends.names import AskedPrecision, AskedRuntime
from serving.engine.providers import DeviceFeatures
from serving.hub.download import MAX_BYTES
from serving.system.resources import MOST_THREADS, resources

DAY_SECONDS = 24 * 60 * 60
_LONGEST = 4096
_PREFIX = "OFFRAMP_"
_OTHER_COMMANDS = tuple(
    f"{_PREFIX}{name}_"
    for name in (
        *("CHECK", "FIT", "EVALUATE", "EXPORT", "CALIBRATE", "DESCRIBE", "CARD", "GALLERY", "COMPARE"),
        *("CONFLICT", "IMPORTANCE", "DEMO", "CASCADE", "ADOPT", "ADVISE", "CONVERT", "WATCH"),
        *("CLASSIFY", "RAY", "PUSH", "PULL"),
    )
)
"""The variables of the other commands begin so."""

_VERSIONS = re.compile(r"latest|all|(0|[1-9][0-9]{0,17})(\+(0|[1-9][0-9]{0,17}))*", re.ASCII)

_WHOLE = re.compile(r"[0-9]{1,4}", re.ASCII)
MOST_PROCESSES = 255
"""Processes that may share a port."""

_SHARE = re.compile(r"[0-9]*\.?[0-9]+", re.ASCII)

# Variables that a Kubernetes Service "offramp" or "offramp-…" puts into every pod of its namespace.
_SERVICE_LINK = re.compile(r"[a-z]+://.*")
_SERVICE_NAME = re.compile(r".*_SERVICE_(HOST|PORT(_.*)?)|.*_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?")
_ALIKE = 0.75
"""Two names are this alike, by `difflib`, where one may be a slip of the other."""


_ORIGIN = re.compile(r"https?://[a-z0-9.\-\[\]:]+", re.ASCII)


def _versions(given: str) -> tuple[str, str]:
    """Take `name=2+3` apart.

    Raises:
        ValueError: it is not of that form.
    """
    name, _, versions = given.rpartition("=")
    if not name or not _VERSIONS.fullmatch(versions):
        raise ValueError(f"expected NAME=latest, NAME=all or NAME=2 (or 2+3), found {given[:60]!r}")
    return name, versions


def _split_share(given: str) -> tuple[str, tuple[str, float]]:
    """Take `name=version:share` apart.

    Raises:
        ValueError: it is not of that form, or the share is not in (0, 1].
    """
    name, _, rest = given.rpartition("=")
    version, _, share = rest.rpartition(":")
    found = float(share) if _SHARE.fullmatch(share) else 0.0
    if not (name and version and 0 < found <= 1):
        raise ValueError(
            f"expected NAME=VERSION:SHARE, with a share over 0 and up to 1, found {given[:60]!r}"
        )
    return name, (version, found)


def _origin(given: str) -> str:
    """Take an origin as it is.

    Raises:
        ValueError: it is none.
    """
    if given != "*" and _ORIGIN.fullmatch(given) is None:
        raise ValueError(f"expected origins such as https://app.example.com, or *, found {given!r}")
    return given


def _named_model(given: str) -> tuple[str, str]:
    """Take `name=folder` apart.

    Raises:
        ValueError: it is not of that form.
    """
    name, separator, place = given.partition("=")
    if not (separator and name and place) or "/" in name or name.startswith("."):
        raise ValueError(f"expected NAME=FOLDER, such as pets=/mnt/models, found {given[:60]!r}")
    return name, place


def _path(given: object) -> object:
    return os.fspath(given) if isinstance(given, os.PathLike) else given


_FORMS: dict[str, Callable[[str], object]] = {
    "model": _named_model,
    "model_version": _versions,
    "canary": _split_share,
    "shadow": _split_share,
    "cors_origins": _origin,
}
"""Settings of several values by commas, and the function that refuses a value of another form."""


class Settings(BaseSettings):
    """Serve multi-exit models: every request says what it may cost."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_ignore_empty=True,
        frozen=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
    )

    models: Annotated[str, BeforeValidator(_path)] = "exported_models"
    """The folder of bundles, one bundle, or hf://OWNER/NAME[@REVISION] on the Hugging Face Hub."""
    model: Annotated[tuple[str, ...] | None, NoDecode] = None
    """`pets=/mnt/models`, by commas: a model's name, and its bundle, folder of versions or Hub name."""
    max_download: ByteSize = Field(default=ByteSize(MAX_BYTES), gt=0, le=2**50)
    """The most that the bundles of one repository of the Hub may have (`20GB`)."""
    host: str = "127.0.0.1"
    """The address to listen on; 0.0.0.0 for every interface."""
    port: int = Field(default=8000, ge=0, le=65535)
    """The port to listen on; 0 takes a free one, which the line on standard output names."""
    admin_port: int | None = Field(default=None, ge=0, le=65535)
    """A second port, which serves everything; the first one then serves only what callers need."""
    admin_host: str = "127.0.0.1"
    """The address of the second port."""
    grpc_port: int | None = Field(default=None, ge=0, le=65535)
    """A port for the Open Inference Protocol over gRPC, on the same address; needs offramp[grpc]."""
    allowed_hosts: Annotated[tuple[str, ...] | None, NoDecode] = None
    """Host names to answer to, by commas (`*.example.com`); else the loopback's where bound to it, or any."""
    cors_origins: Annotated[tuple[str, ...] | None, NoDecode] = None
    """Origins, by commas, whose pages in a browser may ask (`https://app.example.com`), or `*`; else none."""
    api_keys_file: Path | None = None
    """A file of `name:class:sha256` lines: callers must then send a key; read again when it changes."""
    tls_cert: Path | None = None
    """The certificate, with its chain (PEM), to serve over TLS; read again when it changes."""
    tls_key: Path | None = None
    """The key of the certificate (PEM)."""
    max_connections: int = Field(default=0, ge=0, le=2**20)
    """The most connections at a time; 0 takes what the limit on open files allows."""
    allow_admin: bool = False
    """Let callers of the public port, and of gRPC, change models and send labels back."""
    default_budget: str = "100%"
    """The budget of a request that names none."""
    default_model: str | None = None
    """The model of a request that names none; needed only where several are loaded."""

    model_version: Annotated[tuple[str, ...] | None, NoDecode] = None
    """Versions by commas: `pets=2`, `pets=2+3` (2 answers, 3 by its number), `pets=all`; else the latest."""
    canary: Annotated[tuple[str, ...] | None, NoDecode] = None
    """`pets=3:0.1`, by commas: version 3 answers a tenth of the requests that name no version."""
    shadow: Annotated[tuple[str, ...] | None, NoDecode] = None
    """`pets=3:0.1`, or `pets=cats:0.1`: what also sees a tenth of the requests, when there is time."""
    watch: bool = False
    """Load, replace and unload models as their folders change."""
    watch_interval_seconds: float = Field(default=2, ge=0.01, le=DAY_SECONDS)
    """How often to look; a folder is taken once it was the same twice."""
    max_model_memory: ByteSize = Field(default=ByteSize(0), ge=0, le=2**50)
    """The most memory of all loaded models (`2GB`), measured as they load; 0 is without a limit."""
    evict_models: bool = False
    """Make room under that limit by unloading the models that were asked longest ago."""

    policy: Literal["geometric", "searched"] | None = None
    """Policy that turns budgets into thresholds, for every model; each bundle's own if not given."""
    max_drop: float | None = Field(default=None, gt=0, lt=1)
    """For requests that ask for nothing else: the share of answers that leaving early may lose."""
    guarantee_delta: float = Field(default=0.05, gt=0, lt=1)
    """The chance, over the draw of the certifying images, that a guarantee (max_drop) does not hold."""
    controller: Literal["on", "off"] = "on"
    """Whether what images cost corrects the thresholds, so that budgets hold for other images too."""
    brownout: Literal["on", "off"] = "on"
    """Whether budgets of the classes `low` and `normal` are lowered while too much waits."""
    brownout_floor: float = Field(default=0.25, gt=0, le=1)
    """The least share of its budgets that a class keeps."""
    brownout_queue_share: float = Field(default=0.125, gt=0, lt=1)
    """The share of the queue (--max-queue-rows) that may stand full before budgets are lowered."""
    state_dir: Path | None = None
    """Folder that keeps the state of the closed loop over a restart."""
    state_interval_seconds: float = Field(default=60, ge=0.01, le=DAY_SECONDS)
    """Seconds between two writes of it; it is written on stopping, too."""
    sample_share: float = Field(default=0.01, ge=0, le=1)
    """The share of images whose early answers are checked by the last exit in idle time; 0 checks none."""
    sample_seed: int = Field(default=0, ge=0, lt=2**63)
    """Decides which images these are."""
    drift_window_images: int = Field(default=2000, gt=0, le=10_000_000)
    """Images at an exit for one measurement of drift."""

    label_answers: int = Field(default=100_000, gt=0, le=10_000_000)
    """How many answers labels may still come for, the latest of all models."""
    label_days: float = Field(default=7, gt=0, le=3650)
    """For how many days they may come."""
    accuracy_delta: float = Field(default=0.0001, gt=0, lt=1)
    """The chance that the alarm on labelled accuracy is ever raised falsely."""

    capture: int = Field(default=0, ge=0, le=1_000_000)
    """Keep so many random images of each bundle's traffic in --state-dir, to calibrate on; 0 keeps none."""
    capture_bytes: ByteSize = Field(default=ByteSize(64 * 2**20), gt=0, le=2**40)
    """The most that the pixels of each bundle's captured images may have (`256MB`)."""

    max_body_bytes: int = Field(default=16 * 2**20, gt=0, le=2**32)
    """The largest request body; larger ones are answered with 413."""
    max_images: int = Field(default=256, gt=0, le=100_000)
    """The most images in one request."""
    max_pixels: int = Field(default=25_000_000, gt=0, le=80_000_000)
    """The most pixels (width x height) of one image, refused from its header."""
    max_request_pixels: int = Field(default=100_000_000, gt=0, le=10**12)
    """The most pixels of all images of one request, refused from their headers."""
    max_waiting_bytes: int = Field(default=0, ge=0, le=2**50)
    """The most bytes of all requests' bodies at a time; 0 takes an eighth of the memory, 64 MB to 1 GB."""
    max_queue_rows: int = Field(default=1024, gt=0, le=10_000_000)
    """The most images waiting in one model; beyond it requests are answered with 429."""
    max_batch: int = Field(default=32, gt=0, le=4096)
    """The most images in one run of a stage."""
    max_batch_bytes: int = Field(default=64 * 2**20, gt=0, le=2**40)
    """The most bytes of images and features in one run of a stage; large features make batches smaller."""
    processes: str = "1"
    """Processes that share the port, the cores and the limits; `auto`: as cores and models call for."""
    threads: int = Field(default=0, ge=0, le=MOST_THREADS)
    """Threads that compute, for each model of each process; 0 takes one for each core that it has."""
    decode_threads: int | Literal["auto"] = Field(default="auto", title="THREADS")
    """Threads that decode images; `auto`: by what decoding takes; 0 decodes small ones in the event loop."""
    runtime: AskedRuntime = "auto"
    """What runs networks on the CPU; `auto` times ONNX Runtime and OpenVINO where both are installed."""
    inference_precision: Annotated[
        AskedPrecision, BeforeValidator(lambda given: {"bf16": "bfloat16"}.get(given, given))
    ] = "auto"
    """What networks in float32 are computed in, such as `bf16`; `auto` is what a bundle was calibrated in."""
    providers: Annotated[tuple[str, ...] | None, NoDecode] = None
    """ONNX Runtime's execution providers, best first, by commas; else CUDA where it works, or the CPU."""
    strict_providers: bool = False
    """Refuse to serve a model where the providers asked for, or the GPU that is there, were not got."""
    device_features: DeviceFeatures = "auto"
    """Keep features on the GPU between stages; `auto` where the bundle is made for it."""

    body_timeout_seconds: float = Field(default=30, gt=0, le=DAY_SECONDS)
    """Seconds that the headers, and then the body, of a request may take to arrive."""
    write_timeout_seconds: float = Field(default=10, gt=0, le=DAY_SECONDS)
    """Seconds that a caller may take to receive its answer before its connection is closed."""
    stall_seconds: float = Field(default=30, gt=0, le=DAY_SECONDS)
    """Seconds of waiting work without any finished until a model is not ready; after twice that, not live."""
    load_timeout_seconds: float = Field(default=300, gt=0, le=DAY_SECONDS)
    """Seconds that loading one bundle may take before it is refused."""
    drain_seconds: float = Field(default=5, ge=0, le=DAY_SECONDS)
    """Seconds after SIGTERM to go on serving, not ready, so that load balancers notice."""
    shutdown_timeout_seconds: int = Field(default=20, gt=0, le=DAY_SECONDS)
    """Seconds for admitted requests to be answered once the server has stopped accepting."""

    console: bool = True
    """Serve the console, pages for a browser, at /."""
    keep_recent: int = Field(default=0, ge=0, le=100)
    """Keep so many of the latest images of each exit, small, in memory, for the console; 0 keeps none."""

    log_format: Literal["json", "console"] = "json"
    """Format of log lines (on standard error)."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe level that is logged."""
    access_log: bool = False
    """Log one line for each request."""

    @property
    def process_count(self) -> int | None:
        """How many processes serve; None where cores and models decide."""
        return None if self.processes == "auto" else int(self.processes)

    @property
    def named_models(self) -> dict[str, str]:
        """The places of models that were given names."""
        return dict(_named_model(given) for given in self.model or ())

    @property
    def version_policies(self) -> dict[str, str]:
        """The versions of models, by name: `latest`, `all`, or numbers with `+` between them."""
        return dict(_versions(given) for given in self.model_version or ())

    @property
    def canaries(self) -> dict[str, tuple[str, float]]:
        """The version and the share of each model's canary, by name."""
        return dict(_split_share(given) for given in self.canary or ())

    @property
    def shadows(self) -> dict[str, tuple[str, float]]:
        """What sees a share of each model's requests, and the share, by name."""
        return dict(_split_share(given) for given in self.shadow or ())

    @property
    def waiting_bytes(self) -> int:
        """The most bytes of all requests' bodies at a time."""
        if self.max_waiting_bytes:
            return self.max_waiting_bytes
        memory = resources().memory_bytes or 2**30
        return max(64 * 2**20, min(memory // 8, 2**30))

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("--tls-cert and --tls-key go together: give both or neither")
        return self

    @model_validator(mode="after")
    def _capture_has_a_place(self) -> Self:
        if self.capture and self.state_dir is None:
            raise ValueError("--capture keeps images in --state-dir: give that, too")
        return self

    @model_validator(mode="after")
    def _runtime_is_whole(self) -> Self:
        if self.runtime == "onnxruntime" and self.inference_precision == "bfloat16":
            raise ValueError(
                "--inference-precision bfloat16 is OpenVINO's: give --runtime openvino, or leave it away"
            )
        if self.runtime == "openvino" and (self.providers or self.device_features == "on"):
            other = "--device-features on" if self.device_features == "on" else "--providers"
            raise ValueError(f"--runtime openvino and {other} contradict each other: give one of them")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what was given, then variables, but for blank ones and those of a Kubernetes Service."""
        if isinstance(env_settings, EnvSettingsSource):
            env_settings.env_vars = {
                name: value
                for name, value in env_settings.env_vars.items()
                if not _is_service_link(name.upper(), value) and (value is None or value.strip())
            }
        return init_settings, env_settings

    @field_validator("*", mode="before")
    @classmethod
    def _given(cls, value: object) -> object:
        if value == "":
            raise ValueError("expected a value, or no such flag")
        if isinstance(value, str) and (len(value) > _LONGEST or "\0" in value):
            raise ValueError(f"expected at most {_LONGEST} characters, NUL not among them")
        return value

    @field_validator("processes")
    @classmethod
    def _is_a_number_of_processes(cls, value: str) -> str:
        if value != "auto" and not (_WHOLE.fullmatch(value) and 1 <= int(value) <= MOST_PROCESSES):
            raise ValueError(f"expected a number from 1 to {MOST_PROCESSES}, or auto")
        return value

    @field_validator("decode_threads", mode="before")
    @classmethod
    def _is_a_number_of_threads(cls, value: object) -> object:
        found = int(value) if isinstance(value, str) and _WHOLE.fullmatch(value) else value
        if found != "auto" and not (type(found) is int and 0 <= found <= MOST_THREADS):
            raise ValueError(f"expected a number from 0 to {MOST_THREADS}, or auto")
        return found

    @field_validator("host", "admin_host")
    @classmethod
    def _can_be_an_address(cls, value: str) -> str:
        try:
            value.encode("idna")
        except UnicodeError as error:
            raise ValueError(f"expected an address or the name of a host ({error})") from error
        return value

    @field_validator(*_FORMS)
    @classmethod
    def _are_of_their_form(
        cls, value: tuple[str, ...] | None, info: ValidationInfo
    ) -> tuple[str, ...] | None:
        for given in value or ():
            _FORMS[str(info.field_name)](given)
        return value

    @field_validator("providers", "allowed_hosts", *_FORMS, mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(name for name in map(str.strip, value.split(",")) if name) or None


def read_settings(arguments: Sequence[str] | None = None) -> Settings:
    """Read the settings from flags, then from variables, then from the file of `--config`.

    Args:
        arguments: the command line without the program's name, the process's own where None; `--help` prints
            the flags and exits.

    Raises:
        SettingsValueError: a flag that does not exist or a value that cannot be used.
    """
    return command_line.read(Settings, "serve", arguments)


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Name the variables that look like settings and are none: slips, or settings of another version.

    Args:
        environment: variables and their values; those of other commands, and those that a
            Kubernetes Service makes, are not named.
    """
    known = {f"{_PREFIX}{name.upper()}" for name in Settings.model_fields}
    return sorted(
        name
        for name, value in environment.items()
        if name.upper().startswith(_PREFIX)
        and name.upper() not in known
        and not _is_of_another_command(name.upper(), known)
        and not _SERVICE_NAME.fullmatch(name.upper())
        and not _is_service_link(name.upper(), value)
    )


def _is_of_another_command(name: str, known: Collection[str]) -> bool:
    """Whether a variable belongs to a command whose prefix no similar setting has, as `OFFRAMP_WATCH_…`."""
    prefix = next((prefix for prefix in _OTHER_COMMANDS if name.startswith(prefix)), None)
    if prefix is None:
        return False
    return not get_close_matches(name, (one for one in known if one.startswith(prefix)), 1, _ALIKE)


def _is_service_link(name: str, value: str | None) -> bool:
    """Whether a variable is `OFFRAMP_PORT=tcp://10.0.0.1:8000` or its like, and no setting."""
    return name.startswith(_PREFIX) and name.endswith("_PORT") and bool(_SERVICE_LINK.fullmatch(value or ""))

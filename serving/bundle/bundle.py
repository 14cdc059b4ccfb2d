"""A bundle: one model at one precision as a folder of exit segments (docs/bundle.md).

`read_bundle` takes nothing on trust: links, checksums, versions, shapes, and that no file leads outside.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import from_json

from serving.bundle import samples as samples_file
from serving.bundle.calibration import MAX_BYTES, Calibration
from serving.bundle.files import links_root, read_plain_file
from serving.bundle.graph_checks import check_segment
from serving.bundle.manifest import (
    FORMAT_VERSION,
    NEWEST_FORMAT,
    FileSpec,
    Manifest,
)
from serving.bundle.samples import Samples
from serving.bundle.served_policy import read_policy
from serving.errors import BundleError
from serving.policy.confidence import MEASURES, Scorer
from serving.system.atomic import new_folder

MANIFEST = "manifest.json"
_MAX_MANIFEST_BYTES = 64 * 2**20
_MAX_SEGMENT_BYTES = 2**31  # protobuf's own limit


@dataclass(frozen=True)
class Bundle:
    """A bundle that passed every check when it was read.

    Attributes:
        folder: where it is.
        manifest: what `manifest.json` says.
        calibration: what every exit said of held-out images.
        links_below: the folder that links of its files may not lead out of.
        named: what it is asked for by, where that is not its folder's name, which is then its version.
        samples: images to try it with; None where it has none.
    """

    folder: Path
    manifest: Manifest
    calibration: Calibration
    links_below: Path
    named: str | None = None
    samples: Samples | None = None

    @property
    def name(self) -> str:
        """Return the name the bundle is asked for by: that of its folder, or of that of its versions."""
        return self.named or self.folder.name

    @property
    def scorer(self) -> Scorer:
        """Return how rows are scored before they are held against thresholds."""
        return self.calibration.scorer(self.manifest.calibration.confidence)

    def segment_path(self, exit_index: int) -> Path:
        """Return the path of the ONNX file of an exit (0-based)."""
        return self.folder / self.manifest.segments[exit_index].file

    def segment_bytes(self, exit_index: int) -> bytes:
        """Return the ONNX file of an exit (0-based), its checksum checked again: what runs is what was read.

        Raises:
            BundleError: the file changed since the bundle was read.
        """
        segment = self.manifest.segments[exit_index]
        with _blamed(self.folder, segment.file):
            return _read_checked(
                self.folder / segment.file, segment.sha256, _MAX_SEGMENT_BYTES, self.links_below
            )

    def files(self) -> dict[str, bytes]:
        """Return all of the bundle's files by name, their checksums checked again.

        Raises:
            BundleError: one changed since the bundle was read.
        """
        files = {
            segment.file: self.segment_bytes(index) for index, segment in enumerate(self.manifest.segments)
        }
        for spec, most in (
            (self.manifest.calibration, MAX_BYTES),
            (self.manifest.samples, samples_file.MAX_BYTES),
        ):
            if spec is not None:
                with _blamed(self.folder, spec.file):
                    files[spec.file] = _read_checked(
                        self.folder / spec.file, spec.sha256, most, self.links_below
                    )
        # As it was written: its checksum is what models are told apart by.
        with _blamed(self.folder, MANIFEST):
            files[MANIFEST] = read_plain_file(self.folder / MANIFEST, _MAX_MANIFEST_BYTES, self.links_below)
        return files


def read_bundle(folder: Path | str, links_below: Path | None = None, name: str | None = None) -> Bundle:
    """Read a bundle and check all of it, short of running it.

    Args:
        folder: where it is.
        links_below: the folder that links of its files may not lead out of; what `links_root` says of the
            bundle if None.
        name: what it is asked for by; its folder's name if None.

    Raises:
        BundleError: names the bundle and the file, what was expected and found, and what to do.
    """
    folder = Path(folder).absolute()
    root = links_root(folder) if links_below is None else links_below
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise BundleError(f"bundle {str(folder)!r}: expected a folder that holds {MANIFEST}; found {found}")
    with _blamed(folder, MANIFEST):
        manifest = _parse_manifest(read_plain_file(folder / MANIFEST, _MAX_MANIFEST_BYTES, root))
    for segment in manifest.segments:
        with _blamed(folder, segment.file):
            data = _read_checked(folder / segment.file, segment.sha256, _MAX_SEGMENT_BYTES, root)
            check_segment(data, segment)
    spec = manifest.calibration
    if spec.confidence not in MEASURES:
        raise BundleError(
            f"bundle {folder.name!r}: {MANIFEST}: expected a confidence out of {sorted(MEASURES)}; "
            f"found {spec.confidence!r}"
        )
    with _blamed(folder, MANIFEST):
        read_policy(spec.policy)
    with _blamed(folder, spec.file):
        calibration = Calibration.from_bytes(_read_checked(folder / spec.file, spec.sha256, MAX_BYTES, root))
        calibration.validate(len(manifest.classes), len(manifest.segments), spec.confidence)
    samples = _read_samples(folder, manifest, root)
    return Bundle(folder, manifest, calibration, root, name, samples)


def peek_manifest(folder: Path, links_below: Path | None = None) -> Manifest:
    """Read the manifest of a bundle alone.

    Args:
        folder: of the bundle.
        links_below: as for `read_bundle`.

    Raises:
        BundleError: as `read_bundle`, for the manifest.
    """
    root = links_root(folder) if links_below is None else links_below
    with _blamed(folder, MANIFEST):
        return _parse_manifest(read_plain_file(folder / MANIFEST, _MAX_MANIFEST_BYTES, root))


def bundle_folders(models: Path | str) -> list[Path]:
    """List the bundles of a folder by name: its sub-folders that hold a bundle's files, or itself if it does.

    One without a manifest that has other files of a bundle is listed too: reading it says what is missing.
    Folders that start with a dot are drafts, remains or what links lead to, never bundles themselves.

    Raises:
        BundleError: there is no such folder.
    """
    models = Path(models)
    if not models.is_dir():
        raise BundleError(f"no folder of models at {str(models)!r}; give one that holds bundles")
    if looks_like_a_bundle(models):
        return [models]
    return sorted(
        path for path in models.iterdir() if not path.name.startswith(".") and looks_like_a_bundle(path)
    )


def looks_like_a_bundle(folder: Path) -> bool:
    """Whether a folder holds files of a bundle, its manifest or others."""
    traces = (MANIFEST, "calibration.npz", "*.onnx")
    return any(any(folder.glob(trace)) for trace in traces)


def write_bundle(
    folder: Path | str,
    draft: Manifest,
    segments: Sequence[bytes],
    calibration: Calibration,
    *,
    samples: Samples | None = None,
    force: bool = False,
    verify: Callable[[Path], None] | None = None,
) -> Bundle:
    """Write a bundle as a whole: to a dot folder beside `folder`, read back, verified, then renamed.

    Args:
        folder: where it goes; its last part is the bundle's name.
        draft: the manifest; its checksums (UNSEALED, say) are replaced by those of the bytes, and it names
            samples only if they are given.
        segments: the ONNX files, in the order of the exits.
        calibration: goes to the file that the draft names.
        samples: images to try the model with.
        force: replace what is there; the old folder stays whole until the new one is in its place.
        verify: called with the finished draft before the rename; if it raises, `folder` stays as it was.

    Raises:
        BundleError: `folder` exists without `force`, or what was written does not read back.
    """
    folder = Path(folder).absolute()
    check_target(folder, force=force)
    packed = calibration.to_bytes()
    shown = None if samples is None else samples.to_bytes()
    draft = draft.model_copy(
        update={"samples": None if shown is None else FileSpec(file=samples_file.FILE, sha256=_sha256(shown))}
    )
    manifest = draft.model_copy(
        update={
            "format_version": draft.used_format,
            "segments": tuple(
                spec.model_copy(update={"sha256": _sha256(data)})
                for spec, data in zip(draft.segments, segments, strict=True)
            ),
            "calibration": draft.calibration.model_copy(update={"sha256": _sha256(packed)}),
        }
    )
    files = {spec.file: data for spec, data in zip(manifest.segments, segments, strict=True)}
    files |= {
        manifest.calibration.file: packed,
        **({} if shown is None else {samples_file.FILE: shown}),
        MANIFEST: manifest.to_json(),
    }
    with new_folder(folder, files, replace=force) as written:
        read = read_bundle(written)
        if verify is not None:
            verify(written)
    return Bundle(folder, read.manifest, calibration, links_root(folder), samples=samples)


def check_target(folder: Path | str, *, force: bool) -> None:
    """Refuse early, before anything costly, where `write_bundle` could not write.

    Raises:
        BundleError: the name starts with a dot, or something is there that may not be replaced.
    """
    folder = Path(folder).absolute()
    if folder.name.startswith(".") or not folder.name:
        raise BundleError(f"a bundle's folder may not start with a dot ({folder.name!r}): it is never loaded")
    if folder.exists() and not force:
        raise BundleError(f"{folder} exists already; choose another folder, or replace it with --force")
    # --force replaces bundles; anything else in the way is more likely a slip of the hand.
    if force and folder.exists() and not (folder / MANIFEST).exists():
        raise BundleError(f"{folder} exists and is no bundle (it has no {MANIFEST}): it is not replaced")


def _parse_manifest(data: bytes) -> Manifest:
    try:
        facts = from_json(data)
    except ValueError as error:
        raise BundleError(f"is not valid JSON ({error})") from error
    version = facts.get("format_version") if isinstance(facts, dict) else None
    if version not in range(FORMAT_VERSION, NEWEST_FORMAT + 1):
        raise BundleError(
            f"expected format_version {FORMAT_VERSION} or {NEWEST_FORMAT}; found {version!r}: "
            "export the model again with this version of Offramp, or update the server"
        )
    try:
        return Manifest.model_validate_json(data, strict=True)
    except ValidationError as error:
        raise BundleError(
            "; ".join(_describe(problem["loc"], problem["msg"]) for problem in error.errors())
        ) from error


def _read_samples(folder: Path, manifest: Manifest, links_below: Path) -> Samples | None:
    spec = manifest.samples
    if spec is None:
        return None
    with _blamed(folder, spec.file):
        data = _read_checked(folder / spec.file, spec.sha256, samples_file.MAX_BYTES, links_below)
        return Samples.from_bytes(data, len(manifest.classes), manifest.preprocessing)


def _describe(place: tuple[int | str, ...], message: str) -> str:
    message = message.removeprefix("Value error, ")
    return f"{'.'.join(str(part) for part in place)}: {message}" if place else message


def _read_checked(path: Path, sha256: str, max_bytes: int, links_below: Path) -> bytes:
    data = read_plain_file(path, max_bytes, links_below)
    found = _sha256(data)
    if found != sha256:
        raise BundleError(
            f"expected SHA-256 {sha256}, as the manifest says; found {found}: "
            "the file was changed or damaged, copy or export the bundle again"
        )
    return data


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextmanager
def _blamed(folder: Path, file: str) -> Iterator[None]:
    """Put the names of the bundle and the file before the text of a BundleError."""
    try:
        yield
    except BundleError as error:
        raise BundleError(f"bundle {folder.name!r}: {file}: {error}") from error

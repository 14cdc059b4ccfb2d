"""Sources of tiny images for tests: the same images as files, as parquet and as a tar archive."""

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.bundles import tiny_images

BROKEN = b"\x89PNG\r\n\x1a\nno more"


def pngs(count: int, seed: int = 0, broken: Sequence[int] = ()) -> list[bytes]:
    """Return encoded images, some of them broken."""
    encoded = []
    for number, image in enumerate(tiny_images(count, seed)):
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        encoded.append(BROKEN if number in broken else buffer.getvalue())
    return encoded


def as_folder(folder: Path, images: Sequence[bytes]) -> Path:
    (folder / "sub").mkdir(parents=True)
    for number, data in enumerate(images):
        (folder / "sub" / f"{number:05}.png").write_bytes(data)
    return folder


def as_parquet(
    file: Path, images: Sequence[bytes | None], *, paths: bool = True, group_rows: int = 7
) -> Path:
    rows = [
        {"bytes": data, "path": f"{number:05}.png"} if paths else {"bytes": data}
        for number, data in enumerate(images)
    ]
    table = pa.table({"image": rows, "label": list(range(len(rows)))})
    pq.write_table(table, file, row_group_size=group_rows)
    return file


def as_tar(file: Path, images: Sequence[bytes], mode: str = "w") -> Path:
    with tarfile.open(file, mode) as archive:  # type: ignore[call-overload]
        for number, data in enumerate(images):
            for suffix, content in ((".png", data), (".cls", b"3")):
                member = tarfile.TarInfo(f"{number:05}{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return file

"""Parquet files with a column of encoded images, as the Hub's data sets have it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from serving.bulk.items import Item, SourceError, holding, shown

_BATCH_ROWS = 256


class ImageTables:
    """Rows of parquet files, in the order of the files.

    Args:
        files: with their names for people.
        column: of the images: binary, or a struct with `bytes`; the only such column if None.
        max_bytes: the most bytes of one image.
        keep: columns that are carried to the output, of one type in all files.

    Raises:
        SourceError: a file that is no parquet, no such column, or several.
    """

    passed_over = 0

    def __init__(
        self,
        files: Sequence[tuple[str, Path]],
        column: str | None,
        max_bytes: int,
        keep: Sequence[str] = (),
    ) -> None:
        self._files, self._max_bytes, self._keep = files, max_bytes, list(keep)
        self._fields: list[Any] | None = None
        self._rows: list[int] = []
        self._columns: list[str] = []
        for name, path in files:
            try:
                with pq.ParquetFile(path) as file:
                    self._rows.append(file.metadata.num_rows)
                    self._columns.append(image_column(name, file.schema_arrow, column))
                    self._fields = self._fields_in(name, file.schema_arrow)
            except (pa.ArrowException, OSError) as error:
                raise SourceError(f"{path}: expected a parquet file: {error}") from error

    def __len__(self) -> int:
        return sum(self._rows)

    @property
    def kept_fields(self) -> Sequence[Any]:
        """Arrow fields of the columns that are carried to the output."""
        return self._fields or ()

    @property
    def listing(self) -> list[str]:
        """Name, rows and bytes of each file, and the column that is read."""
        found = zip(self._files, self._rows, self._columns, strict=True)
        return [f"{name} {rows} {path.stat().st_size} {column}" for (name, path), rows, column in found]

    def items(self, start: int) -> Iterator[Item]:
        """Yield the rows from `start` on; called by the path that a row brings, or by file and row."""
        for (name, path), rows, column in zip(self._files, self._rows, self._columns, strict=True):
            if start >= rows:
                start -= rows
                continue
            try:
                yield from self._rows_of(name, path, column, start)
            except (pa.ArrowException, OSError) as error:
                raise SourceError(f"{path}: cannot be read: {error}") from error
            start = 0

    def _rows_of(self, name: str, path: Path, column: str, start: int) -> Iterator[Item]:
        with pq.ParquetFile(path) as file:
            first, row = _group_of(file.metadata, start)
            groups = list(range(first, file.metadata.num_row_groups))
            for batch in file.iter_batches(_BATCH_ROWS, row_groups=groups, columns=[column, *self._keep]):
                images, paths = _split(batch.column(column))
                kept = _rows(batch, self._keep)
                for data, own, values in zip(images, paths, kept, strict=True):
                    if row >= start:
                        yield Item(shown(own or f"{name}#{row}"), holding(data, self._max_bytes), values)
                    row += 1

    def _fields_in(self, name: str, schema: Any) -> list[Any]:
        """Return the fields of the columns that are kept, which no file may have in another type.

        Raises:
            SourceError: one has no such column, or has it in another type.
        """
        fields = []
        for place, column in enumerate(self._keep):
            if schema.get_field_index(column) < 0:
                raise SourceError(
                    f"{name}: --keep: expected a column {column!r} once; its columns are "
                    f"{', '.join(schema.names)[:500]}"
                )
            field = pa.field(column, schema.field(column).type)
            if self._fields is not None and self._fields[place].type != field.type:
                raise SourceError(
                    f"{name}: --keep: expected {column!r} as {self._fields[place].type}, as in the files "
                    f"before it; found {field.type}"
                )
            fields.append(field)
        return fields


def image_column(file: str, schema: Any, wanted: str | None) -> str:
    """Return the column of the images.

    Raises:
        SourceError: no such column, none that can hold images, or several.
    """
    able = [field.name for field in schema if _holds_images(field.type)]
    if wanted is not None:
        if wanted not in able:
            raise SourceError(
                f"{file}: expected a column {wanted!r} of bytes, or of a struct with bytes; its columns are "
                f"{', '.join(f'{field.name} ({field.type})' for field in schema)[:500]}"
            )
        return wanted
    if len(able) != 1:
        found = f"several ({', '.join(able)})" if able else f"only {', '.join(schema.names)[:500]}"
        raise SourceError(
            f"{file}: expected one column of encoded images, found {found}; name it with --column"
        )
    column: str = able[0]
    return column


def _rows(batch: Any, columns: Sequence[str]) -> list[tuple[Any, ...]]:
    if not columns:
        return [()] * batch.num_rows
    return list(zip(*(batch.column(column).to_pylist() for column in columns), strict=True))


def _holds_images(kind: Any) -> bool:
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _holds_images(kind.field(index).type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _split(column: Any) -> tuple[list[bytes | None], list[str | None]]:
    """Return the bytes and the paths of a batch; None where there are none."""
    if not pa.types.is_struct(column.type):
        return column.to_pylist(), [None] * len(column)
    fields = dict(zip(column.type.names, column.flatten(), strict=True))  # nulls of the struct become theirs
    paths = fields.get("path")
    if paths is None or not (pa.types.is_string(paths.type) or pa.types.is_large_string(paths.type)):
        return fields["bytes"].to_pylist(), [None] * len(column)
    return fields["bytes"].to_pylist(), paths.to_pylist()


def _group_of(metadata: Any, row: int) -> tuple[int, int]:
    """Return the row group that holds a row, and the group's first row."""
    first = 0
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group).num_rows
        if row < first + rows:
            return group, first
        first += rows
    return metadata.num_row_groups, first

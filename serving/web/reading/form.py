"""Files of an upload from a form, `multipart/form-data`, a part of the body at each step.

The library bounds the headers of a part (8, of 4 KB each); parts are counted before any is parsed.
"""

from email.message import Message
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from serving.errors import ImageError, RequestError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FORM_TYPE = "multipart/form-data"
FIELDS = ("image", "images")
"""The names of a form's fields: one file, answered by one object; or several, answered by a list."""

_STEP_BYTES = 64 * 1024
_MAX_BOUNDARY = 70  # RFC 2046
_SHOWN = 60


class FormReader:
    """Takes the files out of a form.

    Args:
        body: of the request.
        content_type: its header, with the boundary.
        max_files: the most files.

    Attributes:
        files: the encoded images so far.
        types: what the sender calls them, by media type.
        listed: whether the field `images` was used.

    Raises:
        RequestError: no boundary, or one that cannot be.
        ImageError: too many parts; they are counted before they are parsed.
    """

    def __init__(self, body: bytes, content_type: str, max_files: int) -> None:
        boundary = _boundary(content_type)
        if body.count(b"--" + boundary) > max_files + 1:
            raise ImageError(f"expected 1 to {max_files} files, found more parts than that")
        self.files: list[bytes] = []
        self.types: list[str] = []
        self.listed = False
        self._body, self._place = body, 0
        self._field, self._value = bytearray(), bytearray()
        self._headers = Message()
        self._file = bytearray()
        self._names: set[str] = set()
        self._ended = False
        callbacks: MultipartCallbacks = {
            "on_part_begin": self._begin,
            "on_header_field": self._take_field,
            "on_header_value": self._take_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._check_part,
            "on_part_data": self._take_data,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }
        self._parser = MultipartParser(boundary, callbacks)

    def step(self) -> bool:
        """Parse the next part of the body; return whether there is more.

        Raises:
            RequestError: it is no such form, or has other fields.
            ImageError: there are no files.
        """
        try:
            self._parser.write(self._body[self._place : self._place + _STEP_BYTES])
        except FormParserError as error:
            raise RequestError(f"expected {FORM_TYPE} (RFC 7578): {error}") from error
        self._place += _STEP_BYTES
        if self._place < len(self._body):
            return True
        self._body = b""
        if not self._ended:
            raise RequestError(f"expected {FORM_TYPE}, found one that does not end with its boundary")
        if not self.files:
            raise ImageError(f"expected a form with files named {' or '.join(FIELDS)}, found none")
        return False

    def _begin(self) -> None:
        self._headers = Message()
        self._file = bytearray()

    def _take_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _take_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._field.decode("latin-1")] = self._value.decode("latin-1")
        self._field, self._value = bytearray(), bytearray()

    def _check_part(self) -> None:
        """Hold a part's headers against what is expected, before its data is kept."""
        name = self._headers.get_param("name", header="content-disposition")
        if name not in FIELDS:
            found = "no name" if name is None else repr(str(name)[:_SHOWN])
            raise RequestError(
                f"expected files named {' or '.join(FIELDS)} in the form, found {found}; what is asked for "
                "stands in the query"
            )
        self._names.add(str(name))
        if len(self._names) > 1 or (name == "image" and self.files):
            raise RequestError("expected one file named image, or files named images, found both or several")
        self.listed = name == "images"

    def _take_data(self, data: bytes, start: int, end: int) -> None:
        self._file += memoryview(data)[start:end]

    def _end_part(self) -> None:
        self.files.append(bytes(self._file))
        self._file = bytearray()
        declared = self._headers.get_content_type() if "content-type" in self._headers else ""
        self.types.append(declared)

    def _end(self) -> None:
        self._ended = True


def _boundary(content_type: str) -> bytes:
    """Return the boundary in a Content-Type header.

    Raises:
        RequestError: there is none, or one that cannot be.
    """
    header = Message()
    header["content-type"] = content_type.replace("\r", "").replace("\n", "")
    boundary = header.get_param("boundary")
    if not isinstance(boundary, str) or not 1 <= len(boundary) <= _MAX_BOUNDARY or not boundary.isascii():
        raise RequestError(
            f"expected Content-Type: {FORM_TYPE}; boundary=…, with 1 to {_MAX_BOUNDARY} characters"
        )
    return boundary.encode("ascii")

"""The body of `POST /v2/repository/index`: none, or `{"ready": true}`."""

import msgspec
from starlette.requests import Request

from serving.errors import RequestError
from serving.web.body import body_headers, receive_body
from serving.web.service import Service

_MAX_BYTES = 4096


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    ready: bool = False


_DOCUMENT = msgspec.json.Decoder(_Document)


async def read_index_request(request: Request, service: Service) -> bool:
    """Say whether only the models that can be asked are to be listed.

    Raises:
        RequestError: a body of another form.
        OfframpError, ClientDisconnect: as `receive_body`.
    """
    timeout_seconds = service.settings.body_timeout_seconds
    with service.bodies.share() as share:
        body = await receive_body(
            body_headers(request.scope), request.receive, _MAX_BYTES, timeout_seconds, share
        )
    if not body.strip():
        return False
    try:
        return _DOCUMENT.decode(body).ready
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(f'expected no body, or {{"ready": true}}: {error}') from error

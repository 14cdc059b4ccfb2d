"""The certificate that the server shows, read again when its files change."""

import errno
import ssl
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from serving.command_line import SettingsValueError


class Certificate:
    """A certificate and its key, in two files.

    Args:
        cert: the certificate and its chain (PEM).
        key: its key (PEM), without a password.
        logger: gets a line when they are read again, and when they cannot be.

    Raises:
        SettingsValueError: they cannot be read, or do not belong together.
    """

    def __init__(self, cert: Path, key: Path, logger: FilteringBoundLogger) -> None:
        self.cert, self.key, self._logger = cert, key, logger
        self._stamp = self._stat()
        try:
            self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        except OSError as error:  # ssl.SSLError is one
            raise SettingsValueError(
                f"--tls-cert {cert}, --tls-key {key}: expected a certificate and its key in PEM, without a "
                f"password: {error.strerror or error}"
            ) from error

    def renew(self, context: ssl.SSLContext | None) -> None:
        """Have a context show what the files hold now, if they have changed; connections there are stay."""
        stamp = self._stat()
        if context is None or stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._load(
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            )  # a try-out: a half-written pair changes nothing
            self._load(context)
        except OSError as error:
            self._logger.error("certificate_not_read", reason=str(error))
        else:
            self._logger.info("certificate_read")

    def _load(self, context: ssl.SSLContext) -> None:
        for path in (self.cert, self.key):
            if path.exists() and not path.is_file():  # OpenSSL would wait for somebody to write to a FIFO
                raise OSError(errno.EINVAL, f"{path} is no regular file")
        context.load_cert_chain(self.cert, self.key, password=_no_password)

    def _stat(self) -> tuple[int, ...]:
        try:
            return self.cert.stat().st_mtime_ns, self.key.stat().st_mtime_ns
        except OSError:
            return ()


def _no_password() -> str:
    return ""  # without this the terminal is asked for one

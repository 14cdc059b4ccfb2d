"""Two certificates for localhost, good for a hundred years and trusted by nobody, with their keys.

They lie in `certificates/`, so that no test needs a tool to make one. Each was made by

    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500 \\
      -subj "/CN=offramp test, first" -addext "subjectAltName=DNS:localhost,IP:127.0.0.1" \\
      -addext "keyUsage=critical,digitalSignature,keyCertSign" -keyout first.key.pem -out first.cert.pem
"""

from pathlib import Path
from shutil import copyfile
from typing import Literal

CERTIFICATES = Path(__file__).with_name("certificates")


def certificate(folder: Path, which: Literal["first", "second"] = "first") -> tuple[Path, Path]:
    """Write `cert.pem` and `key.pem` into a folder, over those that are there, and return both."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    copyfile(CERTIFICATES / f"{which}.key.pem", key)
    copyfile(CERTIFICATES / f"{which}.cert.pem", cert)
    return cert, key

"""The TLS of an emulator that serves HTTPS."""

import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from ..errors import MissingExtraError

SELF_SIGNED: Final = "self-signed"


def load(certificate: str, key: str) -> ssl.SSLContext:
    """Return a server-side context with the certificate chain and the key of two PEM files.

    Raises:
        ValueError: A file cannot be used. The message says which.
    """
    for name in (certificate, key):
        try:
            Path(name).open("rb").close()
        except OSError as error:
            raise ValueError(f"--tls: {name}: {error.strerror}") from None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        raise ValueError(f"--tls: {certificate} and {key} do not fit together: {error}") from None
    return context


def _no_password() -> str:
    # OpenSSL would otherwise ask on the terminal.
    raise ValueError("the key needs a password; give one without")


@contextmanager
def self_signed(names: Iterable[str]) -> Iterator[tuple[ssl.SSLContext, Path]]:
    """Yield a context with a new certificate, and the file of the CA that clients must trust.

    The file is deleted in the end.

    Args:
        names: The host names and addresses of the certificate.

    Raises:
        MissingExtraError: The extra `tls` is not installed.
    """
    try:
        import trustme
    except ModuleNotFoundError:
        raise MissingExtraError("--tls self-signed", "tls") from None
    authority = trustme.CA(organization_name="marketplace_async emulator")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*dict.fromkeys(names)).configure_cert(context)
    with TemporaryDirectory(prefix="marketplace-emulator-") as folder:
        file = Path(folder, "ca.pem")
        file.write_bytes(authority.cert_pem.bytes())
        yield context, file

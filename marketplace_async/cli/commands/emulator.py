"""`marketplace-async emulator`: run an emulator of the API."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..help_format import shared_options
from ..options import Flag
from ..status import CommandError, usage_error

_NETWORK = shared_options("Proxies and TLS", more="--help-all", sort_key=8)


def _positive(_: type, value: float | None) -> None:
    if value is not None and value <= 0:
        raise ValueError("Must be more than 0.")


def _at_least_0(_: type, value: float) -> None:
    if not 0 <= value < float("inf"):
        raise ValueError("Must be 0 or more.")


def _port(_: type, value: int) -> None:
    if not 0 <= value <= 65535:
        raise ValueError("Must be from 0 to 65535.")


def emulator(
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=_port)] = 0,
    db: Path | None = None,
    account: Annotated[list[str] | None, Parameter(negative=())] = None,
    accounts_file: Path | None = None,
    catalogue: Path | None = None,
    concurrency: Annotated[int | None, Parameter(validator=_positive)] = None,
    latency: Annotated[float, Parameter(validator=_at_least_0)] = 0.0,
    public_url: Annotated[str | None, Parameter(group=_NETWORK)] = None,
    trust_proxy: Annotated[Flag, Parameter(group=_NETWORK)] = False,
    allow_host: Annotated[list[str] | None, Parameter(group=_NETWORK, negative=())] = None,
    tls: Annotated[
        list[str] | None, Parameter(group=_NETWORK, negative=(), consume_multiple=True)
    ] = None,
    quiet: Flag = False,
) -> None:
    """Run an emulator. `emulator/__main__.py` declares the same options.

    Parameters
    ----------
    host
        The address to listen on.
    port
        The port. 0 selects a free one.
    db
        A SQLite file for the state, which then survives a restart. Default: in memory.
    account
        SID:SECRET of an account, API key or OAuth app to accept. Can be repeated.
        Use made-up secrets only: other users of this machine can read arguments.
        By default, any well-formed SID is accepted with any secret.
        SK... and OQ... belong to the account AC... with the same digits.
    accounts_file
        A file with one SID:SECRET per line, for secrets that other users must not read.
    catalogue
        A JSON file with additional Add-ons. See `docs/how-to/testing.md` for its format.
    concurrency
        Maximum concurrent requests per account. Further requests receive a 429 response.
    latency
        Minimum response time, in seconds.
    public_url
        The URL that clients use, such as that of a proxy with TLS. Links start with it.
    trust_proxy
        Believe X-Forwarded-Proto and X-Forwarded-Host from every peer.
        By default, only from a proxy on this machine.
    allow_host
        A further host name for the page and the control API. Can be repeated.
        On a loopback address, they accept only names of this machine.
    tls
        Serve HTTPS: --tls CERT KEY with two PEM files, or --tls self-signed.
    quiet
        Print no line per request.
    """
    from ...emulator.serving import Settings, StartError, UsageError, run

    settings = Settings(
        host=host,
        port=port,
        db=db,
        account=tuple(account or ()),
        accounts_file=accounts_file,
        catalogue=catalogue,
        concurrency=concurrency,
        latency=latency,
        public_url=public_url,
        trust_proxy=trust_proxy,
        allow_host=tuple(allow_host or ()),
        tls=tuple(tls or ()),
        quiet=quiet,
    )
    try:
        run(settings)
    except UsageError as error:
        raise usage_error(str(error)) from None
    except StartError as error:
        raise CommandError(str(error)) from None

"""`marketplace-async emulator`: run an emulator of the API."""

import re
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..status import CommandError, usage_error


def _positive(_: type, value: float | None) -> None:
    if value is not None and value <= 0:
        raise ValueError("Must be more than 0.")


def _at_least_0(_: type, value: float) -> None:
    if not 0 <= value < float("inf"):
        raise ValueError("Must be 0 or more.")


def _port(_: type, value: int) -> None:
    if not 0 <= value <= 65535:
        raise ValueError("Must be from 0 to 65535.")


async def emulator(
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=_port)] = 0,
    db: Path | None = None,
    account: Annotated[list[str] | None, Parameter(negative=())] = None,
    accounts_file: Path | None = None,
    catalogue: Path | None = None,
    concurrency: Annotated[int | None, Parameter(validator=_positive)] = None,
    latency: Annotated[float, Parameter(validator=_at_least_0)] = 0.0,
) -> None:
    """Run an emulator.

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
        A JSON file with additional Add-ons. See the README for its format.
    concurrency
        Maximum concurrent requests per account. Further requests receive a 429 response.
    latency
        Minimum response time, in seconds.
    """
    import asyncio
    import signal

    from ..._core.threads import to_daemon_thread
    from ...emulator import Catalogue, Emulator

    accounts = dict(_parse_pair("--account", pair) for pair in account or ())
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        if accounts_file is not None:
            accounts |= await to_daemon_thread(_read_pairs, accounts_file)
        server = Emulator(
            host=host,
            port=port,
            db=db,
            accounts=accounts or None,
            catalogue=Catalogue.load(catalogue) if catalogue else None,
            concurrency=concurrency,
            latency=latency,
        )
        await server.start()
    except (OSError, ValueError) as error:
        raise CommandError(f"the emulator cannot start: {error}") from None
    try:
        print(server.url, flush=True)
        if sys.stdout.isatty():
            print(_HINT.format(url=server.url), flush=True)
        await stop.wait()
    finally:
        await server.stop()


def _parse_pair(source: str, text: str) -> tuple[str, str]:
    sid, colon, secret = text.partition(":")
    if not (re.fullmatch("(AC|SK|OQ)[0-9a-fA-F]{32}", sid) and colon and secret):
        # The message omits the value: it may contain a secret.
        raise usage_error(f"{source}: expected SID:SECRET, where SID starts with AC, SK or OQ")
    return sid, secret


def _read_pairs(file: Path) -> dict[str, str]:
    """Return the secrets in a file, by SID."""
    lines = enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
    pairs = dict(
        _parse_pair(f"{file}, line {number}", line) for number, line in lines if line.strip()
    )
    if not pairs:
        # Without accounts, the emulator accepts all credentials.
        raise usage_error(f"{file}: expected SID:SECRET on each line, but the file is empty")
    return pairs


_HINT = """
To use it from another terminal:

  export MARKETPLACE_BASE_URL={url}
  export TWILIO_ACCOUNT_SID=AC00000000000000000000000000000001 TWILIO_AUTH_TOKEN=made-up

Press Ctrl-C to stop it."""

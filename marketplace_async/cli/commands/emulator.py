"""`marketplace-async emulator`."""

import asyncio
import re
import signal
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..._core.threads import to_daemon_thread
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
    """Run an emulator until it is told to end.

    Parameters
    ----------
    host
        The address to listen on.
    port
        The port; 0 takes a free one.
    db
        A file for the state, which then survives a restart. Otherwise it is in memory.
    account
        SID:SECRET of an account, an API key or an OAuth app to let in; can be repeated.
        Only for secrets that are made up: everybody on this machine can read arguments.
        Without it, any well-formed SID with any secret is an account of its own.
        SK... and OQ... belong to the account AC... with the same digits.
    accounts_file
        A file with SID:SECRET on each line, for secrets that nobody else is to read.
    catalogue
        A file with more add-ons, a JSON list: the README says what is in it.
    concurrency
        Requests at once per account; those beyond it are answered 429.
    latency
        Seconds that each answer takes at least.
    """
    # Late, so that its help is there at once.
    from ...emulator import Catalogue, Emulator

    accounts = dict(_pair("--account", pair) for pair in account or ())
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        if accounts_file is not None:
            accounts |= await to_daemon_thread(_pairs_of, accounts_file)
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


def _pair(where: str, text: str) -> tuple[str, str]:
    sid, colon, secret = text.partition(":")
    if not (re.fullmatch("(AC|SK|OQ)[0-9a-fA-F]{32}", sid) and colon and secret):
        # What was given is not shown: it may hold a secret.
        raise usage_error(f"{where}: expected SID:SECRET, with a SID of AC, SK or OQ")
    return sid, secret


def _pairs_of(file: Path) -> dict[str, str]:
    """Return the secrets of a file by their SIDs."""
    lines = enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
    pairs = dict(_pair(f"{file}, line {number}", line) for number, line in lines if line.strip())
    if not pairs:
        # An empty list would let everybody in.
        raise usage_error(f"{file}: expected SID:SECRET on each line, and there is none")
    return pairs


_HINT = """
To use it from another terminal:

  export MARKETPLACE_BASE_URL={url}
  export TWILIO_ACCOUNT_SID=AC00000000000000000000000000000001 TWILIO_AUTH_TOKEN=made-up

Ctrl-C ends it."""

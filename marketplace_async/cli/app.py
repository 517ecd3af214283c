"""The commands, with their options and their help."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

try:
    import cyclopts
    from cyclopts import App, Parameter
except ModuleNotFoundError:
    from ..errors import MissingExtraError

    raise MissingExtraError("the command line", "cli") from None

from .._version import __version__
from . import demo as _demo, emulator as _emulator

app = App(
    name="marketplace-async",
    help="Twilio's Marketplace v1 API from the command line, and an emulator of it.",
    version=__version__,
    result_action="return_value",
)


@app.command
async def demo(*, base_url: str | None = None) -> int:
    """Show add-ons being browsed, installed, configured, listed and removed, on three accounts.

    It starts an emulator of its own, sends nothing anywhere else, and takes a second. The exit
    status is 0 only if every step went as it should.

    Parameters
    ----------
    base_url
        Run against this server instead, such as an emulator that is running already. The accounts
        are made up, so that the real service would not let them in.
    """
    return await _demo.run(base_url)


def _positive(_: type, value: float | None) -> None:
    if value is not None and value <= 0:
        raise ValueError("Must be more than 0.")


def _at_least_0(_: type, value: float) -> None:
    if not 0 <= value < float("inf"):
        raise ValueError("Must be 0 or more.")


def _port(_: type, value: int) -> None:
    if not 0 <= value <= 65535:
        raise ValueError("Must be from 0 to 65535.")


@app.command
async def emulator(
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=_port)] = 0,
    db: Path | None = None,
    account: Annotated[list[str] | None, Parameter(negative=())] = None,
    catalogue: Path | None = None,
    concurrency: Annotated[int | None, Parameter(validator=_positive)] = None,
    latency: Annotated[float, Parameter(validator=_at_least_0)] = 0.0,
) -> int:
    """Run an emulator of the Marketplace v1 API, for tests and for development.

    When it is ready, its first line of output is its URL. Ctrl-C or SIGTERM ends it.

    It keeps state, checks configurations against the schemas of its add-ons, pages, and keeps
    accounts apart. It is not the service: it bills nobody, calls no add-on, has no preview API,
    and where the vendor's documentation says nothing of an answer, it guesses.
    It is no server for the public: it has no TLS, and lets everybody in unless told otherwise.

    Parameters
    ----------
    host
        The address to listen on.
    port
        The port; 0 takes a free one.
    db
        A file for the state, which then survives a restart. Otherwise it is in memory.
    account
        SID:SECRET of an account, an API key or an OAuth app to let in; can be given more than once.
        Without it, any well-formed SID with any secret is an account of its own. The API key SK...
        and the OAuth app OQ... belong to the account AC... with the same digits.
    catalogue
        A file with more add-ons: a JSON list of objects with unique_name, friendly_name,
        configuration_schema, extensions and so on.
    concurrency
        Requests at once per account; those beyond it are answered 429.
    latency
        Seconds that each answer takes at least.
    """
    accounts: dict[str, str] = {}
    for pair in account or ():
        sid, colon, secret = pair.partition(":")
        if not (re.fullmatch("(AC|SK|OQ)[0-9a-fA-F]{32}", sid) and colon and secret):
            print("--account: expected SID:SECRET, with a SID of AC, SK or OQ", file=sys.stderr)
            return 2
        accounts[sid] = secret
    return await _emulator.run(
        host=host,
        port=port,
        db=db,
        accounts=accounts or None,
        catalogue=catalogue,
        concurrency=concurrency,
        latency=latency,
    )


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name."""
    try:
        result = app(arguments, exit_on_error=False)
    except cyclopts.CycloptsError:
        # cyclopts has said what is wrong.
        return 2
    return result if isinstance(result, int) else 0

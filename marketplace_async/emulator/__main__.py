"""`python -m marketplace_async.emulator`: an emulator without the command line's extra."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .._core.exits import end
from .._version import __version__
from ..errors import MissingExtraError
from .serving import Settings, StartError, UsageError, run

DESCRIPTION = """\
Run an emulator of the Marketplace v1 API for tests and development.

The first line of output is its URL. Stop it with Ctrl-C or SIGTERM. Open the URL in a browser to
see requests, state and faults.

It keeps state, validates configurations against the schemas of its Add-ons, supports paging and
isolates accounts. It is not the service: it bills nothing, invokes no Add-ons, has no preview API,
and guesses where Twilio's documentation does not describe a response. Do not expose it to the
internet: it accepts all credentials by default, and anyone who can reach it can control it."""


def main(arguments: Sequence[str] | None = None, program: str | None = None) -> int:
    """Run an emulator. Return the exit status: 0, 1 if it cannot start, 2 if usage is invalid.

    Args:
        arguments: The arguments without the program name. Defaults to those of the process.
        program: The name of the program in messages.
    """
    options = parser(program or "python -m marketplace_async.emulator").parse_args(arguments)
    values: dict[str, Any] = {name: _value(value) for name, value in vars(options).items()}
    try:
        if sys.stdout is None:  # as in `python -m marketplace_async.emulator >&-`
            raise StartError("standard output is closed")
        run(Settings(**values))
    except (UsageError, MissingExtraError) as error:
        return _fail(error, 2)
    except StartError as error:
        return _fail(error, 1)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 141
    return 0


def parser(program: str) -> argparse.ArgumentParser:
    """Return the parser. `cli/commands/emulator.py` declares the same options."""
    result = argparse.ArgumentParser(
        prog=program,
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    result.add_argument("--version", action="version", version=__version__)
    add = result.add_argument
    add("--host", default="127.0.0.1", help="The address to listen on.")
    add("--port", type=_port, default=0, help="The port. 0 selects a free one.")
    add(
        "--db",
        type=Path,
        help="A SQLite file for the state, which then survives a restart. Default: in memory.",
    )
    add(
        "--account",
        action="append",
        default=[],
        help="SID:SECRET of an account, API key or OAuth app to accept. Can be repeated. "
        "Use made-up secrets only: other users of this machine can read arguments. "
        "By default, any well-formed SID is accepted with any secret. "
        "SK... and OQ... belong to the account AC... with the same digits.",
    )
    add(
        "--accounts-file",
        type=Path,
        help="A file with one SID:SECRET per line, for secrets that other users must not read.",
    )
    add(
        "--catalogue",
        type=Path,
        help="A JSON file with additional Add-ons. See `docs/how-to/testing.md` for its format.",
    )
    add(
        "--concurrency",
        type=_positive,
        help="Maximum concurrent requests per account. Further requests receive a 429 response.",
    )
    add("--latency", type=_seconds, default=0.0, help="Minimum response time, in seconds.")
    add(
        "--public-url",
        help="The URL that clients use, such as that of a proxy with TLS. Links start with it.",
    )
    add(
        "--trust-proxy",
        action="store_true",
        help="Believe X-Forwarded-Proto and X-Forwarded-Host from every peer. "
        "By default, only from a proxy on this machine.",
    )
    add(
        "--allow-host",
        action="append",
        default=[],
        help="A further host name for the page and the control API. Can be repeated. "
        "On a loopback address, they accept only names of this machine.",
    )
    add(
        "--tls",
        nargs="+",
        default=[],
        help="Serve HTTPS: --tls CERT KEY with two PEM files, or --tls self-signed.",
    )
    add("--quiet", action="store_true", help="Print no line per request.")
    return result


def _value(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"must be from 0 to 65535, got {text!r}")
    return int(text)


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"must be a positive integer, got {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"must be 0 or more, got {text!r}")
    return seconds


def _fail(error: Exception, status: int) -> int:
    print(f"error: {error}", file=sys.stderr)
    return status


if __name__ == "__main__":
    end(main())

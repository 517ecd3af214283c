"""Runs an emulator as a process: for `python -m marketplace_async.emulator` and the command."""

import asyncio
import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

import attrs

from . import tls
from .addresses import check_public_url, origin_host
from .catalogue import Catalogue
from .request_lines import RequestLines, uses_color
from .server import Emulator

_SIGNALS = ("SIGINT", "SIGTERM", "SIGBREAK")  # the last one is Ctrl-Break on Windows
_WILDCARDS = ("", "0.0.0.0", "::")
_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


@attrs.frozen(kw_only=True)
class Settings:
    """The options of an emulator, as `python -m marketplace_async.emulator --help` explains."""

    host: str = "127.0.0.1"
    port: int = 0
    db: Path | None = None
    account: tuple[str, ...] = attrs.field(default=(), repr=False)
    accounts_file: Path | None = None
    catalogue: Path | None = None
    concurrency: int | None = None
    latency: float = 0.0
    public_url: str | None = None
    trust_proxy: bool = False
    allow_host: tuple[str, ...] = ()
    tls: tuple[str, ...] = ()
    quiet: bool = False


class UsageError(Exception):
    """An option is invalid. Nothing was started."""


class StartError(Exception):
    """The emulator cannot start."""


def run(settings: Settings) -> None:
    """Run an emulator until SIGINT or SIGTERM. The first line of output is its URL.

    Raises:
        UsageError: An option is invalid.
        StartError: A file, the state or the port cannot be opened.
        MissingExtraError: `--tls self-signed` needs the extra `tls`.
    """
    if len(settings.tls) > 2 or (len(settings.tls) == 1 and settings.tls[0] != tls.SELF_SIGNED):
        raise UsageError("--tls: expected CERT KEY, or self-signed")
    if settings.public_url is not None:
        try:
            check_public_url(settings.public_url)
        except ValueError as error:
            raise UsageError(f"--{error}".replace("_", "-", 1)) from None
    with ExitStack() as stack:
        try:
            emulator = _emulator(settings, stack)
        except (OSError, ValueError) as error:
            raise _start_error(error) from None
        asyncio.run(_serve(emulator, settings))


def _start_error(error: Exception) -> StartError:
    return StartError(f"the emulator cannot start: {error}")


def _emulator(settings: Settings, stack: ExitStack) -> Emulator:
    accounts = dict(_parse_pair("--account", pair) for pair in settings.account)
    if settings.accounts_file is not None:
        accounts |= _read_pairs(settings.accounts_file)
    context = None
    if len(settings.tls) == 2:
        context = tls.load(*settings.tls)
    elif settings.tls:
        context, file = stack.enter_context(tls.self_signed(_names(settings)))
        print(_TRUST.format(file=file), file=sys.stderr, flush=True)
    emulator = Emulator(
        host=settings.host,
        port=settings.port,
        db=settings.db,
        accounts=accounts or None,
        catalogue=Catalogue.load(settings.catalogue) if settings.catalogue else None,
        concurrency=settings.concurrency,
        latency=settings.latency,
        public_url=settings.public_url,
        trust_proxy=settings.trust_proxy,
        allow_hosts=settings.allow_host,
        tls=context,
    )
    if not settings.quiet and sys.stderr is not None:
        lines = RequestLines(emulator.log, sys.stderr, uses_color(sys.stderr, os.environ))
        lines.start()
        stack.callback(lines.close)
    return emulator


async def _serve(emulator: Emulator, settings: Settings) -> None:
    stop = asyncio.Event()
    _on_signals(stop.set)
    try:
        await emulator.start()
    except (OSError, ValueError) as error:
        raise _start_error(error) from None
    try:
        _announce(settings.public_url, emulator.url)
        await stop.wait()
    finally:
        await emulator.stop()


def _announce(public_url: str | None, url: str) -> None:
    try:
        print(url, flush=True)
        if sys.stdout.isatty():
            print(_HINT.format(url=public_url or url), flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StartError(f"standard output: {error.strerror}") from None


def _on_signals(stop: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for name in _SIGNALS:
        number = getattr(signal, name, None)
        if number is None:
            continue
        try:
            loop.add_signal_handler(number, stop)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop))


def _names(settings: Settings) -> Iterable[str]:
    """Return the names of a self-signed certificate."""
    yield from _LOCAL_NAMES
    if re.fullmatch(r"[A-Za-z0-9.-]+", machine := socket.gethostname()):
        yield machine
    if settings.host not in _WILDCARDS:
        yield settings.host
    hosts = [*settings.allow_host, origin_host(settings.public_url or "")]
    yield from (name for host in hosts if (name := _NAME.sub("", host).strip("[]")))


_NAME = re.compile(r":[0-9]+$")


def _parse_pair(source: str, text: str) -> tuple[str, str]:
    sid, colon, secret = text.partition(":")
    if not (re.fullmatch("(AC|SK|OQ)[0-9a-fA-F]{32}", sid) and colon and secret):
        # The message omits the value: it may contain a secret.
        raise UsageError(f"{source}: expected SID:SECRET, where SID starts with AC, SK or OQ")
    return sid, secret


def _read_pairs(file: Path) -> dict[str, str]:
    """Return the secrets in a file, by SID."""
    lines = enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
    pairs = dict(
        _parse_pair(f"{file}, line {number}", line) for number, line in lines if line.strip()
    )
    if not pairs:
        # Without accounts, the emulator accepts all credentials.
        raise UsageError(f"{file}: expected SID:SECRET on each line, but the file is empty")
    return pairs


_TRUST = """\
Clients must trust this CA, which is new at each start: {file}
  export SSL_CERT_FILE={file} REQUESTS_CA_BUNDLE={file} NODE_EXTRA_CA_CERTS={file}"""

_HINT = """
Open it in a browser to see its requests, state and faults. To use it from another terminal:

  export MARKETPLACE_BASE_URL={url}
  export TWILIO_ACCOUNT_SID=AC00000000000000000000000000000001 TWILIO_AUTH_TOKEN=made-up

Press Ctrl-C to stop it."""

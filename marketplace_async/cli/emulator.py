"""`marketplace-async emulator`."""

import asyncio
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from ..emulator import Catalogue, Emulator


async def run(
    *,
    host: str,
    port: int,
    db: Path | None,
    accounts: Mapping[str, str] | None,
    catalogue: Path | None,
    concurrency: int | None,
    latency: float,
) -> int:
    """Run an emulator until a signal ends it."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        emulator = Emulator(
            host=host,
            port=port,
            db=db,
            accounts=accounts,
            catalogue=Catalogue.load(catalogue) if catalogue else None,
            concurrency=concurrency,
            latency=latency,
        )
        await emulator.start()
    except (OSError, ValueError) as error:
        print(f"the emulator cannot start: {error}", file=sys.stderr)
        return 1
    try:
        print(emulator.url, flush=True)
        if sys.stdout.isatty():
            print(_HINT.format(url=emulator.url), flush=True)
        await stop.wait()
    finally:
        await emulator.stop()
    return 0


_HINT = """
To use it from another terminal:

  export MARKETPLACE_BASE_URL={url}
  export TWILIO_ACCOUNT_SID=AC00000000000000000000000000000001 TWILIO_AUTH_TOKEN=made-up

Ctrl-C ends it."""

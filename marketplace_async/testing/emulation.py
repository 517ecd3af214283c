"""Emulators for tests, with or without a client."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Unpack

from ..client import ClientOptions, MarketplaceClient
from ..credentials import AccountToken

if TYPE_CHECKING:
    from ..emulator import Emulator


def account(number: int = 1) -> AccountToken:
    """Return made-up credentials that the emulator accepts, for a different account per number."""
    return AccountToken(f"AC{number:032x}", "made-up")


@asynccontextmanager
async def emulated(
    emulator: "Emulator | None" = None, **options: Unpack[ClientOptions]
) -> "AsyncIterator[tuple[MarketplaceClient, Emulator]]":
    """Run an emulator on the current event loop, and a client of `account()` connected to it.

    Args:
        emulator: An emulator that is not started. Defaults to `Emulator()`.
        options: Options of the client. `base_url` is set to the emulator's URL.

    Raises:
        MissingExtraError: The extra `emulator` is not installed.
    """
    async with _or_new(emulator) as running:
        options["base_url"] = running.url
        async with MarketplaceClient(account(), **options) as client:
            yield client, running


@contextmanager
def emulated_sync(emulator: "Emulator | None" = None) -> "Iterator[tuple[str, Emulator]]":
    """Run an emulator in a thread with an event loop of its own. It serves any program.

    The state of the emulator can be set up and read from any thread.

    Args:
        emulator: An emulator that is not started. Defaults to `Emulator()`.

    Returns:
        The base URL for clients, and the emulator.

    Raises:
        MissingExtraError: The extra `emulator` is not installed.
    """
    with _or_new(emulator) as running:
        yield running.url, running


def _or_new(emulator: "Emulator | None") -> "Emulator":
    if emulator is not None:
        return emulator
    from ..emulator import Emulator

    return Emulator()

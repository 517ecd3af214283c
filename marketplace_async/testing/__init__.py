"""Test support: an emulator with a client, and pytest fixtures.

    async with emulated() as (client, emulator):
        ...

To use the fixtures, set `pytest_plugins = ["marketplace_async.testing"]` in your top-level
`conftest.py`. The fixtures `marketplace_client` and `marketplace_emulator` have fresh state for
each test. They require a plugin that runs async fixtures: pytest-asyncio or anyio.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Unpack

from ..client import ClientOptions, MarketplaceClient
from ..credentials import AccountToken
from ..errors import MissingExtraError
from .cassettes import scrubbed as scrubbed

if TYPE_CHECKING:
    from ..emulator import Emulator


def account(number: int = 1) -> AccountToken:
    """Return made-up credentials that the emulator accepts, for a different account per number."""
    return AccountToken(f"AC{number:032x}", "made-up")


@asynccontextmanager
async def emulated(
    emulator: "Emulator | None" = None, **options: Unpack[ClientOptions]
) -> "AsyncIterator[tuple[MarketplaceClient, Emulator]]":
    """Run an emulator and a client of `account()` that is connected to it.

    Args:
        emulator: An emulator that is not started. Defaults to `Emulator()`.
        options: Options of the client. `base_url` is set to the emulator's URL.

    Raises:
        MissingExtraError: The extra `emulator` is not installed.
    """
    if emulator is None:
        from ..emulator import Emulator

        emulator = Emulator()
    async with emulator:
        options["base_url"] = emulator.url
        async with MarketplaceClient(account(), **options) as client:
            yield client, emulator


# pytest is only needed when it is already running.
if "pytest" in sys.modules:
    import pytest

    try:
        from pytest_asyncio import fixture
    except ModuleNotFoundError:
        fixture = pytest.fixture  # type: ignore[assignment]

    @fixture
    async def marketplace_emulator() -> "AsyncIterator[Emulator]":
        """An emulator with fresh state."""
        try:
            from ..emulator import Emulator
        except MissingExtraError as error:
            pytest.fail(str(error), pytrace=False)
        async with Emulator() as emulator:
            yield emulator

    @fixture
    async def marketplace_client(
        marketplace_emulator: "Emulator",
    ) -> AsyncIterator[MarketplaceClient]:
        """A client of `account()` that is connected to `marketplace_emulator`."""
        async with MarketplaceClient(account(), base_url=marketplace_emulator.url) as client:
            yield client

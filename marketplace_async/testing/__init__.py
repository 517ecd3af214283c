"""For tests of programs that use the client: an emulator, and a client that talks to it.

    async with emulated() as (client, emulator):
        ...

A project that tests with pytest says `pytest_plugins = ["marketplace_async.testing"]` in its
top-level `conftest.py`, and has the fixtures `marketplace_client` and `marketplace_emulator`, with
fresh state for each test. They need a plugin that runs async fixtures: pytest-asyncio or anyio's.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Unpack

from ..client import ClientOptions, MarketplaceClient
from ..credentials import AccountToken
from ..errors import MissingExtraError

if TYPE_CHECKING:
    from ..emulator import Emulator


def account(number: int = 1) -> AccountToken:
    """Return made-up credentials, different for each number; the emulator lets them all in."""
    return AccountToken(f"AC{number:032x}", "made-up")


@asynccontextmanager
async def emulated(
    emulator: "Emulator | None" = None, **options: Unpack[ClientOptions]
) -> "AsyncIterator[tuple[MarketplaceClient, Emulator]]":
    """Start an emulator, and give a client of `account()` with it; both end with the block.

    Args:
        emulator: One that is set up and not started; else a plain one, with its state in memory.
        options: For the client; its base URL is the emulator's.

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


# Whoever runs under pytest has imported it already; nobody else needs it.
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
        """A client of `account()` that talks to `marketplace_emulator`."""
        async with MarketplaceClient(account(), base_url=marketplace_emulator.url) as client:
            yield client

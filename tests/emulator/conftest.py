"""Fixtures for the tests of the emulator."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
from support.plain_http import Http

from marketplace_async.emulator import Emulator


@pytest.fixture
async def http(marketplace_emulator: Emulator) -> AsyncIterator[Http]:
    async with aiohttp.ClientSession() as session:
        yield Http(session, marketplace_emulator)

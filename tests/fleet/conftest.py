"""The fleet that all tests of jobs use."""

import pytest
from support.fleet import Fleet

from marketplace_async.emulator import Emulator


@pytest.fixture
async def shops(marketplace_emulator: Emulator) -> Fleet:
    return Fleet(marketplace_emulator)

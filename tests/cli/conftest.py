"""The fixtures that the tests of commands share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.shops import Shops, shops_of

from marketplace_async.emulator import Emulator


@pytest.fixture
def shops(served: Emulator, tmp_path: Path) -> Shops:
    return shops_of(served, tmp_path)


@pytest.fixture
def slow_shops(tmp_path: Path) -> Iterator[Shops]:
    """Shops with latency, so that a job can be killed while it runs."""
    with Emulator(latency=0.03) as emulator:
        yield shops_of(emulator, tmp_path)

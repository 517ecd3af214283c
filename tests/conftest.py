"""Fixtures for all tests. A test fails if the package blocks the event loop.

`MARKETPLACE_TEST_LOOP=uvloop` runs async tests on uvloop. `MARKETPLACE_TEST_EXCHANGE=aiohttp` sends
every request by aiohttp's own session.
"""

import asyncio
import importlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from blockbuster import BlockBuster
from hypothesis import settings
from support.paths import DESCRIPTION, NO_DESCRIPTION

import marketplace_async
from marketplace_async._core import session as sessions
from marketplace_async.emulator import Emulator
from marketplace_async.emulator.store import Store

pytest_plugins = ["marketplace_async.testing", "pytester", "support.command_line"]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A job in the background of a shell ignores Ctrl-C, and so would the programs of the tests.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Many containers set this. It hides how buffers and their locks behave in programs.
os.environ.pop("PYTHONUNBUFFERED", None)

# On a busy machine, an example can take any time.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


if os.environ.get("MARKETPLACE_TEST_EXCHANGE") == "aiohttp":
    sessions._direct = False


if os.environ.get("MARKETPLACE_TEST_LOOP") == "uvloop":

    def pytest_asyncio_loop_factories(
        config: pytest.Config, item: pytest.Item
    ) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
        return {"uvloop": importlib.import_module("uvloop").new_event_loop}

    def pytest_configure(config: pytest.Config) -> None:
        # If TLS negotiation is cancelled, uvloop leaves aiohttp's socket to the garbage collector.
        ignored = "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"
        config.addinivalue_line("filterwarnings", ignored)


@pytest.fixture(autouse=True)
def _detect_blocking_calls() -> Iterator[None]:
    blockbuster = BlockBuster(marketplace_async)
    for name, function in blockbuster.functions.items():
        function.can_block_in("emulator/store.py", {Store.__init__.__name__})
        if name.startswith("sqlite3."):
            function.can_block_in("emulator/store.py", set(vars(Store)))
    lock = blockbuster.functions["threading.Lock.acquire"]
    lock.can_block_predicate = _except_coverage(lock.can_block_predicate)
    blockbuster.activate()
    yield
    blockbuster.deactivate()


def _except_coverage(can_block: Callable[..., bool]) -> Callable[..., bool]:
    """Allow the lock of coverage, which its tracer takes inside any function that is called."""
    measuring = sys.modules["coverage"].Coverage.current() if "coverage" in sys.modules else None
    of_coverage = getattr(getattr(measuring, "_collector", None), "data_lock", None)

    def predicate(lock: object, *args: Any, **kwargs: Any) -> bool:
        return lock is of_coverage or can_block(lock, *args, **kwargs)

    return predicate


@pytest.fixture(scope="session")
def description() -> dict[str, Any]:
    """Twilio's OpenAPI description of the API."""
    if not DESCRIPTION.is_file():
        pytest.skip(NO_DESCRIPTION)
    document: dict[str, Any] = json.loads(DESCRIPTION.read_bytes())
    return document


@pytest.fixture
def served() -> Iterator[Emulator]:
    """An emulator for clients in other processes, whose faults need not match."""
    with Emulator() as emulator:
        yield emulator

"""Fixtures for all tests. A test fails if the package blocks the event loop."""

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from blockbuster import blockbuster_ctx
from support.paths import DESCRIPTION, NO_DESCRIPTION
from support.served import ServedEmulator, serve

import marketplace_async
from marketplace_async.emulator import Emulator
from marketplace_async.emulator.store import Store

pytest_plugins = ["marketplace_async.testing", "pytester", "support.command_line"]

# Subprocesses do not inherit development mode, because asyncio would report slow steps on standard
# error. On a busy machine, steps are slow.
os.environ.pop("PYTHONDEVMODE", None)


@pytest.fixture(autouse=True)
def _detect_blocking_calls() -> Iterator[None]:
    with blockbuster_ctx(marketplace_async) as blockbuster:
        for name, function in blockbuster.functions.items():
            if name.startswith("sqlite3."):
                function.can_block_in("emulator/store.py", set(vars(Store)))
        yield


@pytest.fixture(scope="session")
def description() -> dict[str, Any]:
    """Twilio's OpenAPI description of the API."""
    if not DESCRIPTION.is_file():
        pytest.skip(NO_DESCRIPTION)
    document: dict[str, Any] = json.loads(DESCRIPTION.read_bytes())
    return document


@pytest.fixture
def served() -> Iterator[Emulator]:
    """An emulator for synchronous clients."""
    yield from serve(ServedEmulator())

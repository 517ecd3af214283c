"""Test support: an emulator with or without a client, and pytest fixtures.

    async with emulated() as (client, emulator):
        ...

    with emulated_sync() as (url, emulator):  # for synchronous programs
        ...

To use the fixtures, set `pytest_plugins = ["marketplace_async.testing"]` in your top-level
`conftest.py`. The fixtures `marketplace_client` and `marketplace_emulator` have fresh state for
each test. The client needs a test that runs on asyncio. The emulator serves any test.
"""

import sys

from .cassettes import scrubbed
from .emulation import account, emulated, emulated_sync

__all__ = ["account", "emulated", "emulated_sync", "scrubbed"]

# pytest is only needed when it is already running.
if "pytest" in sys.modules:
    from .fixtures import (
        marketplace_client as marketplace_client,
        marketplace_client_options as marketplace_client_options,
        marketplace_emulator as marketplace_emulator,
        marketplace_emulator_options as marketplace_emulator_options,
        pytest_runtest_makereport as pytest_runtest_makereport,
    )

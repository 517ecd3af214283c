"""The pytest fixtures. None of them is async: they serve every plugin, loop scope and thread."""

import asyncio
from collections.abc import Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from ..client import ClientOptions, MarketplaceClient
from ..errors import MissingExtraError
from .emulation import account

if TYPE_CHECKING:
    from ..emulator import Emulator, Fault

_CLOSING_TIMEOUT = 10.0
_HAS_PASSED = pytest.StashKey[bool]()


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: "pytest.CallInfo[None]"
) -> Generator[None, Any, None]:
    """Note whether a test has passed, for the check of `marketplace_emulator`."""
    outcome = yield
    if call.when == "call":
        item.stash[_HAS_PASSED] = outcome.get_result().passed


@pytest.fixture
def marketplace_emulator_options() -> Mapping[str, Any]:
    """The arguments of the `Emulator` of `marketplace_emulator`. Override it to change them.

    The additional key `strict` is True by default: a test fails if no request matched a fault.
    """
    return {}


@pytest.fixture
def marketplace_client_options() -> ClientOptions:
    """The options of `marketplace_client`, except `base_url`. Override it to change them.

    `{"retry": Retry(initial_backoff=0)}` retries without waiting.
    """
    return {}


@pytest.fixture
def marketplace_emulator(
    request: pytest.FixtureRequest, marketplace_emulator_options: Mapping[str, Any]
) -> "Iterator[Emulator]":
    """An emulator with fresh state, in a thread with an event loop of its own."""
    try:
        from ..emulator import Emulator
    except MissingExtraError as error:
        pytest.fail(str(error), pytrace=False)
    options = dict(marketplace_emulator_options)
    strict = options.pop("strict", True)
    with Emulator(**options) as emulator:
        yield emulator
    # The emulator has stopped: it has received all requests that it ever will.
    unmatched = emulator.faults.unmatched()
    # A test that failed, or was skipped, may not have come to the request.
    if strict and unmatched and request.node.stash.get(_HAS_PASSED, False):
        pytest.fail(_describe(unmatched), pytrace=False)


@pytest.fixture
def marketplace_client(
    request: pytest.FixtureRequest,
    marketplace_emulator: "Emulator",
    marketplace_client_options: ClientOptions,
) -> Iterator[MarketplaceClient]:
    """A client of `account()` that is connected to `marketplace_emulator`."""
    _check_asyncio(request)
    options: ClientOptions = {**marketplace_client_options, "base_url": marketplace_emulator.url}
    client = MarketplaceClient(account(), **options)
    yield client
    _close(client)


def _describe(unmatched: "list[Fault]") -> str:
    return "\n".join(
        [
            f"no request matched {len(unmatched)} of the faults:",
            *(f"  {fault}" for fault in unmatched),
            "Correct the method and path, or remove the fault. To allow it, let the fixture "
            'marketplace_emulator_options return {"strict": False}.',
        ]
    )


def _check_asyncio(request: pytest.FixtureRequest) -> None:
    names = request.fixturenames
    backend = request.getfixturevalue("anyio_backend_name") if "anyio_backend" in names else None
    if backend == "trio" or request.node.get_closest_marker("trio") is not None:
        pytest.fail(
            "marketplace_client needs asyncio, and this test runs on trio: for anyio, let the "
            'fixture anyio_backend return "asyncio"',
            pytrace=False,
        )


def _close(client: MarketplaceClient) -> None:
    """Close a client on the event loop that the test used it on."""
    loop = client._session.pool.loop
    if loop is not None and loop.is_running():  # in another thread
        asyncio.run_coroutine_threadsafe(client.aclose(), loop).result(_CLOSING_TIMEOUT)
    elif loop is not None and not loop.is_closed():
        loop.run_until_complete(client.aclose())
    else:
        # Nothing is open, so any loop will do.
        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(client.aclose())
        finally:
            loop.close()

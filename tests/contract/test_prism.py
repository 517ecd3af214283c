"""Every operation against Prism in dynamic mode, which invents a response for the description.

Needs Node.js: `nox -s prism` installs Prism and sets MARKETPLACE_PRISM to its path.
"""

import asyncio
import json
import os
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from support.paths import DESCRIPTION
from support.responses import (
    AVAILABLE,
    AVAILABLE_EXTENSIONS,
    CLASSES,
    EXTENSIONS,
    INSTALLED,
    assert_read,
)

from marketplace_async import (
    AccountToken,
    BillableItem,
    MarketplaceClient,
    Request,
    ResponseError,
    Retry,
    UnusableResponseError,
    capture,
)
from marketplace_async._core.codec import to

ROUNDS = 40
AC = "AC" + "1" * 32
XB, XE, XF, BI = ("XB" + "1" * 32, "XE" + "1" * 32, "XF" + "1" * 32, "BI" + "1" * 32)

PRISM = os.environ.get("MARKETPLACE_PRISM")
pytestmark = [
    pytest.mark.skipif(not PRISM, reason="no Prism; run nox -s prism"),
    pytest.mark.skipif(not DESCRIPTION.is_file(), reason="no OpenAPI description"),
]

Operation = Callable[[MarketplaceClient], Awaitable[object]]

OPERATIONS: dict[str, Operation] = {
    f"get {AVAILABLE} 200": lambda c: c.available_add_ons.list().first(),
    f"get {AVAILABLE}/{{Sid}} 200": lambda c: c.available_add_ons.fetch(XB),
    f"get {AVAILABLE_EXTENSIONS} 200": lambda c: c.available_add_ons.extensions(XB).list().first(),
    f"get {AVAILABLE_EXTENSIONS}/{{Sid}} 200": lambda c: c.available_add_ons.extensions(XB).fetch(
        XF
    ),
    f"post {INSTALLED} 201": lambda c: c.installed_add_ons.create(
        available_add_on_sid=XB, accept_terms_of_service=True, configuration={"a": 1}
    ),
    f"get {INSTALLED} 200": lambda c: c.installed_add_ons.list().first(),
    f"get {INSTALLED}/{{Sid}} 200": lambda c: c.installed_add_ons.fetch(XE),
    f"post {INSTALLED}/{{Sid}} 200": lambda c: c.installed_add_ons.update(XE, unique_name="x"),
    f"delete {INSTALLED}/{{Sid}} 204": lambda c: c.installed_add_ons.delete(XE),
    f"get {EXTENSIONS} 200": lambda c: c.installed_add_ons.extensions(XE).list().first(),
    f"get {EXTENSIONS}/{{Sid}} 200": lambda c: c.installed_add_ons.extensions(XE).fetch(XF),
    f"post {EXTENSIONS}/{{Sid}} 200": lambda c: c.installed_add_ons.extensions(XE).update(
        XF, enabled=True
    ),
    f"post {INSTALLED}/{{InstalledAddOnSid}}/Usage 202": lambda c: c.installed_add_ons.usage(
        XE
    ).create([BillableItem(BI, 1)]),
    "post /v1/ReferralConversion 200": lambda c: c.referral_conversions.create(
        referral_account_sid=AC
    ),
    "post /v1/Listings 200": lambda c: c.listings.create(module_info={"a": 1}),
    "get /v1/Listings 200": lambda c: c.listings.list_own(),
    "post /v1/Listing/{Sid} 200": lambda c: c.listings.update(XB, pricing={"a": 1}),
    "get /v1/Listing/{Sid} 200": lambda c: c.listings.fetch(XB),
}


@pytest.fixture
async def client() -> AsyncIterator[MarketplaceClient]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    prism = await asyncio.create_subprocess_exec(
        *(str(PRISM), "mock", "--dynamic", "--port", str(port), str(DESCRIPTION)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        async with MarketplaceClient(
            AccountToken(AC, "x"), base_url=url, retry=Retry(attempts=1)
        ) as client:
            await client.with_options(
                retry=Retry(attempts=200, max_elapsed=60, initial_backoff=0.2, max_backoff=0.3)
            ).send(Request("GET", "/v1/Listings"))
            yield client
    finally:
        prism.terminate()
        await prism.wait()


def test_every_operation_is_run() -> None:
    assert CLASSES.keys() - OPERATIONS.keys() == {"post /v1/ReferralConversion 202"}
    assert len(OPERATIONS) == 18


async def test_every_invented_response_is_read(client: MarketplaceClient) -> None:
    seen: Counter[str] = Counter()
    for _ in range(ROUNDS):
        for name, operation in OPERATIONS.items():
            with capture() as exchanges:
                (outcome,) = await asyncio.gather(operation(client), return_exceptions=True)
            # Invented SIDs and links are not those that were asked for.
            if isinstance(outcome, BaseException):
                assert isinstance(outcome, ResponseError), outcome
                assert is_expected(outcome), outcome
                seen["about something else"] += 1
            else:
                seen["returned"] += 1
            response = exchanges[0].response
            assert response is not None
            if name in CLASSES:
                check(CLASSES[name], response)
                seen["read"] += 1
    assert seen["read"] == ROUNDS * 17
    assert seen.total() == ROUNDS * (18 + 17)


def is_expected(error: ResponseError) -> bool:
    return any(
        part in error.reason
        for part in (
            *("about something else", "does not belong to this list", "a page of"),
            *("sid: expected text, got null", "the link to the next page"),
            *("billable items were reported", "that were not reported"),
        )
    )


def check(cls: type[Any], response: Any) -> None:
    try:
        value = to(cls)(Request("GET", "/v1/X"), response)
    except UnusableResponseError as error:
        # The description allows null, which is no identity.
        assert "sid: expected text, got null" in error.reason  # noqa: PT017
    else:
        assert_read(value, json.loads(response.body))

"""All 18 operations against the emulator, and the arguments that each refuses."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from marketplace_async import (
    AvailableAddOn,
    BadRequestError,
    BillableItem,
    ConflictError,
    InstalledAddOn,
    Listing,
    MarketplaceClient,
    NotFoundError,
    PermissionDeniedError,
    ReferralConversion,
    ReportedItem,
    UsageReport,
)
from marketplace_async.emulator import Emulator
from marketplace_async.testing import account

SPEECH_TO_TEXT = "XB85b56ed9ce713e0ac62342b901233193"
SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"
CONFIGURATION = {
    "callback_method": "POST",
    "callback_url": "https://example.com/your-callback-url",
    "include-keywords": True,
    "include-topics": True,
}
BI = "BI" + "a" * 32


@pytest.fixture
async def installed(marketplace_client: MarketplaceClient) -> InstalledAddOn:
    return await marketplace_client.installed_add_ons.create(
        available_add_on_sid=SPEECH_TO_TEXT,
        accept_terms_of_service=True,
        configuration=CONFIGURATION,
        unique_name="transcription",
    )


# -- available Add-ons


async def test_available_add_ons_are_listed_and_fetched(
    marketplace_client: MarketplaceClient, marketplace_emulator: Emulator
) -> None:
    add_ons = await marketplace_client.available_add_ons.list().collect()
    assert len(add_ons) >= 12
    assert len({add_on.sid for add_on in add_ons}) == len(add_ons)
    for add_on in add_ons:
        assert isinstance(add_on, AvailableAddOn)
        assert add_on.configuration_schema is not None
        assert await marketplace_client.available_add_ons.fetch(add_on.sid) == add_on
    assert add_ons[0].url == f"{marketplace_emulator.url}/v1/AvailableAddOns/{add_ons[0].sid}"
    assert add_ons[0].links == {"extensions": f"{add_ons[0].url}/Extensions"}


async def test_extensions_of_an_available_add_on_are_listed_and_fetched(
    marketplace_client: MarketplaceClient,
) -> None:
    extensions = marketplace_client.available_add_ons.extensions(SPAM_SCORE)
    found = await extensions.list(page_size=1).collect()
    assert [extension.unique_name for extension in found] == ["lookup-api", "voice-incoming"]
    assert {extension.available_add_on_sid for extension in found} == {SPAM_SCORE}
    assert await extensions.fetch(found[1].sid) == found[1]


# -- installed Add-ons


async def test_an_add_on_is_installed_with_a_configuration_and_a_name(
    installed: InstalledAddOn,
) -> None:
    assert installed.sid.startswith("XE")
    assert installed.account_sid == account().account_sid
    assert installed.available_add_on_sid == SPEECH_TO_TEXT
    assert installed.configuration == CONFIGURATION
    assert installed.unique_name == "transcription"
    assert installed.friendly_name == "IBM Watson Speech to Text"
    assert installed.description == "Turns recorded speech into text."
    assert installed.date_created == installed.date_updated
    assert installed.date_created is not None
    assert abs((datetime.now(UTC) - installed.date_created).total_seconds()) < 60


async def test_the_unique_name_defaults_to_a_numbered_name_of_the_add_on(
    marketplace_client: MarketplaceClient,
) -> None:
    names = [
        (
            await marketplace_client.installed_add_ons.create(
                available_add_on_sid=SPAM_SCORE, accept_terms_of_service=True
            )
        ).unique_name
        for _ in range(3)
    ]
    assert names == ["nomorobo_spamscore", "nomorobo_spamscore_1", "nomorobo_spamscore_2"]


async def test_an_installed_add_on_is_fetched_and_listed(
    marketplace_client: MarketplaceClient, installed: InstalledAddOn
) -> None:
    assert await marketplace_client.installed_add_ons.fetch(installed.sid) == installed
    assert await marketplace_client.installed_add_ons.list(limit=20).collect() == [installed]


@pytest.mark.parametrize(
    ("changes", "configuration", "unique_name"),
    [
        ({"unique_name": "other"}, CONFIGURATION, "other"),
        ({"configuration": {"include-topics": False}}, {"include-topics": False}, "transcription"),
        ({"configuration": {}}, {}, "transcription"),
        ({"configuration": {}, "unique_name": "Ünïque & näme=1"}, {}, "Ünïque & näme=1"),
    ],
)
async def test_an_update_changes_only_its_arguments(
    marketplace_client: MarketplaceClient,
    installed: InstalledAddOn,
    changes: dict[str, Any],
    configuration: dict[str, Any],
    unique_name: str,
) -> None:
    updated = await marketplace_client.installed_add_ons.update(installed.sid, **changes)
    assert (updated.configuration, updated.unique_name) == (configuration, unique_name)
    assert await marketplace_client.installed_add_ons.fetch(installed.sid) == updated


async def test_a_deleted_add_on_is_not_found_and_its_name_is_free(
    marketplace_client: MarketplaceClient, installed: InstalledAddOn
) -> None:
    await marketplace_client.installed_add_ons.delete(installed.sid)
    assert await marketplace_client.installed_add_ons.list().collect() == []
    for operation in (
        marketplace_client.installed_add_ons.fetch(installed.sid),
        marketplace_client.installed_add_ons.delete(installed.sid),
        marketplace_client.installed_add_ons.update(installed.sid, unique_name="x"),
        marketplace_client.installed_add_ons.extensions(installed.sid).list().collect(),
        marketplace_client.installed_add_ons.usage(installed.sid).create(
            [BillableItem(BI, Decimal(1))]
        ),
    ):
        with pytest.raises(NotFoundError, match="404 20404"):
            await operation
    again = await marketplace_client.installed_add_ons.create(
        available_add_on_sid=SPEECH_TO_TEXT,
        accept_terms_of_service=True,
        unique_name="transcription",
    )
    assert again.sid != installed.sid


async def test_another_account_cannot_see_or_change_an_installation(
    marketplace_client: MarketplaceClient, installed: InstalledAddOn
) -> None:
    other = marketplace_client.with_credentials(account(2)).installed_add_ons
    assert await other.list().collect() == []
    for operation in (
        other.fetch(installed.sid),
        other.delete(installed.sid),
        other.update(installed.sid, unique_name="x"),
        other.extensions(installed.sid).list().collect(),
        other.usage(installed.sid).create([BillableItem(BI, Decimal(1))]),
    ):
        with pytest.raises(NotFoundError):
            await operation
    assert await marketplace_client.installed_add_ons.fetch(installed.sid) == installed


async def test_a_taken_name_is_a_conflict_on_create_and_update(
    marketplace_client: MarketplaceClient, installed: InstalledAddOn
) -> None:
    other = await marketplace_client.installed_add_ons.create(
        available_add_on_sid=SPAM_SCORE, accept_terms_of_service=True
    )
    with pytest.raises(ConflictError, match="409 20409"):
        await marketplace_client.installed_add_ons.create(
            available_add_on_sid=SPAM_SCORE,
            accept_terms_of_service=True,
            unique_name="transcription",
        )
    with pytest.raises(ConflictError, match="409 20409"):
        await marketplace_client.installed_add_ons.update(other.sid, unique_name="transcription")
    elsewhere = marketplace_client.with_credentials(account(2))
    await elsewhere.installed_add_ons.create(
        available_add_on_sid=SPAM_SCORE, accept_terms_of_service=True, unique_name="transcription"
    )


@pytest.mark.parametrize(
    ("configuration", "path"),
    [({"callback_url": 5}, "callback_url"), ({"callback_method": "PUT"}, "callback_method")],
)
async def test_a_configuration_that_violates_the_schema_is_a_bad_request_with_a_path(
    marketplace_client: MarketplaceClient,
    installed: InstalledAddOn,
    configuration: dict[str, Any],
    path: str,
) -> None:
    add_ons = marketplace_client.installed_add_ons
    for operation in (
        add_ons.create(
            available_add_on_sid=SPEECH_TO_TEXT,
            accept_terms_of_service=True,
            configuration=configuration,
        ),
        add_ons.update(installed.sid, configuration=configuration),
    ):
        with pytest.raises(BadRequestError, match=f"400 20001.*{path}") as error:
            await operation
        assert error.value.details["errors"][0]["path"] == path
    assert await add_ons.list().collect() == [installed]


async def test_a_required_configuration_must_be_given(
    marketplace_client: MarketplaceClient,
) -> None:
    add_ons = await marketplace_client.available_add_ons.list().collect()
    (needs_bad_words,) = (
        add_on
        for add_on in add_ons
        if (add_on.configuration_schema or {}).get("required") == ["bad_words"]
    )
    with pytest.raises(BadRequestError, match="bad_words"):
        await marketplace_client.installed_add_ons.create(
            available_add_on_sid=needs_bad_words.sid, accept_terms_of_service=True
        )


async def test_terms_must_be_accepted_and_the_add_on_must_exist(
    marketplace_client: MarketplaceClient,
) -> None:
    with pytest.raises(BadRequestError, match="AcceptTermsOfService"):
        await marketplace_client.installed_add_ons.create(
            available_add_on_sid=SPAM_SCORE, accept_terms_of_service=False
        )
    with pytest.raises(NotFoundError, match="was not found"):
        await marketplace_client.installed_add_ons.create(
            available_add_on_sid="XB" + "0" * 32, accept_terms_of_service=True
        )


async def test_extensions_are_disabled_at_first_and_can_be_switched(
    marketplace_client: MarketplaceClient, installed: InstalledAddOn
) -> None:
    extensions = marketplace_client.installed_add_ons.extensions(installed.sid)
    (extension,) = await extensions.list().collect()
    assert extension.enabled is False
    assert extension.installed_add_on_sid == installed.sid
    for enabled in (True, True, False):
        updated = await extensions.update(extension.sid, enabled=enabled)
        assert updated.enabled is enabled
        assert await extensions.fetch(extension.sid) == updated
    with pytest.raises(NotFoundError):
        await extensions.fetch("XF" + "0" * 32)


async def test_usage_is_reported_exactly(
    marketplace_client: MarketplaceClient,
    marketplace_emulator: Emulator,
    installed: InstalledAddOn,
) -> None:
    usage = marketplace_client.installed_add_ons.usage(installed.sid)
    report = await usage.create(
        [BillableItem(BI, Decimal("12.355")), BillableItem(BI, Decimal(44))]
    )
    assert report == UsageReport(
        billable_items=(
            ReportedItem(sid=BI, quantity=Decimal("12.355"), submitted=True),
            ReportedItem(sid=BI, quantity=Decimal(44), submitted=True),
        ),
        total_submitted=Decimal("56.355"),
    )
    assert [item.quantity for item in marketplace_emulator.usage()] == [Decimal("12.355"), 44]
    body = marketplace_emulator.log[-1].body
    expected = (
        f'{{"billable_items":[{{"sid":"{BI}","quantity":12.355}},{{"sid":"{BI}","quantity":44}}]}}'
    )
    assert body == expected.encode()


# -- listings and referrals


async def test_a_listing_is_created_fetched_and_listed_by_its_owner(
    marketplace_client: MarketplaceClient,
) -> None:
    listings = marketplace_client.listings
    created = await listings.create(module_info={"name": "Näme"}, configuration={"buttons": []})
    assert isinstance(created, Listing)
    assert (created.module_info, created.configuration) == ({"name": "Näme"}, {"buttons": []})
    assert await listings.fetch(created.sid) == created
    assert await listings.list_own() == ({"name": "Näme"},)
    other = marketplace_client.with_credentials(account(2)).listings
    assert await other.list_own() == ()
    with pytest.raises(NotFoundError):
        await other.fetch(created.sid)


async def test_a_listing_needs_only_module_info(marketplace_client: MarketplaceClient) -> None:
    created = await marketplace_client.listings.create(module_info={"name": "x"})
    assert created.configuration is None


async def test_every_part_of_a_listing_can_be_updated(
    marketplace_client: MarketplaceClient,
) -> None:
    parts = (
        *("module_info", "description", "documentation", "policies"),
        *("support", "configuration", "pricing"),
    )
    created = await marketplace_client.listings.create(module_info={"name": "x"})
    for part in parts:
        changed = await marketplace_client.listings.update(created.sid, **{part: {"new": part}})
        assert getattr(changed, part) == {"new": part}
    assert {part: getattr(changed, part) for part in parts} == {p: {"new": p} for p in parts}


async def test_an_update_of_a_listing_that_changes_nothing_returns_the_listing(
    marketplace_client: MarketplaceClient, marketplace_emulator: Emulator
) -> None:
    created = await marketplace_client.listings.create(module_info={"name": "x"})
    marketplace_emulator.log.clear()
    assert (
        await marketplace_client.listings.update(created.sid, module_info={"name": "x"}) == created
    )
    assert [(entry.method, entry.status) for entry in marketplace_emulator.log] == [
        ("POST", 304),
        ("GET", 200),
    ]


async def test_all_accounts_can_fetch_a_listing_and_only_its_owner_can_change_it(
    marketplace_client: MarketplaceClient,
) -> None:
    listing = await marketplace_client.listings.fetch(SPAM_SCORE)
    assert listing.module_info is not None
    assert listing.module_info["name"] == "Nomorobo Spam Score"
    with pytest.raises(PermissionDeniedError, match="403 20403"):
        await marketplace_client.listings.update(SPAM_SCORE, pricing={"body": "free"})


async def test_the_size_of_policies_is_limited(marketplace_client: MarketplaceClient) -> None:
    created = await marketplace_client.listings.create(module_info={"name": "x"})
    text = "ü" * 2_499_990
    updated = await marketplace_client.listings.update(created.sid, policies={"legal": text})
    assert updated.policies == {"legal": text}
    with pytest.raises(ValueError, match="policies: expected at most 5000000 bytes"):
        await marketplace_client.listings.update(created.sid, policies={"legal": text + "x" * 20})


async def test_a_referral_is_converted(marketplace_client: MarketplaceClient) -> None:
    sid = "AC" + "b" * 32
    conversion = await marketplace_client.referral_conversions.create(referral_account_sid=sid)
    assert conversion == ReferralConversion(converted_account_sid=sid)


# -- invalid arguments

WRONG = "XA" + "a" * 32
XE = "XE" + "a" * 32
Call = Callable[[MarketplaceClient], Awaitable[object]]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda c: c.available_add_ons.fetch(XE), ValueError, "sid: .* of an available Add-on"),
        (lambda c: c.available_add_ons.extensions(XE), ValueError, "sid: .* available Add-on"),
        (
            lambda c: c.available_add_ons.extensions(SPAM_SCORE).fetch(XE),
            ValueError,
            "sid: .* of an extension",
        ),
        (lambda c: c.installed_add_ons.fetch(SPAM_SCORE), ValueError, "sid: .* of an installed"),
        (lambda c: c.installed_add_ons.fetch(None), TypeError, "sid: .* got NoneType"),
        (lambda c: c.installed_add_ons.delete("XE1/../../v1/Listings"), ValueError, "sid: "),
        (lambda c: c.installed_add_ons.delete(XE + "\n"), ValueError, "sid: "),
        (lambda c: c.installed_add_ons.update(XE), ValueError, "nothing to change"),
        (lambda c: c.installed_add_ons.update(WRONG, unique_name="x"), ValueError, "sid: "),
        (lambda c: c.installed_add_ons.update(XE, unique_name=""), ValueError, "unique_name: "),
        (
            lambda c: c.installed_add_ons.update(XE, configuration="{}"),
            TypeError,
            "configuration: expected a mapping, got str",
        ),
        (
            lambda c: c.installed_add_ons.create(
                available_add_on_sid=XE, accept_terms_of_service=True
            ),
            ValueError,
            "available_add_on_sid: .* the SID of an installed Add-on",
        ),
        (
            lambda c: c.installed_add_ons.create(
                available_add_on_sid=SPAM_SCORE, accept_terms_of_service="true"
            ),
            TypeError,
            "accept_terms_of_service: expected True or False",
        ),
        (
            lambda c: c.installed_add_ons.create(
                available_add_on_sid=SPAM_SCORE,
                accept_terms_of_service=True,
                configuration={"a": {1}},
            ),
            TypeError,
            "configuration.a: JSON cannot hold set",
        ),
        (lambda c: c.installed_add_ons.extensions(WRONG), ValueError, "sid: "),
        (
            lambda c: c.installed_add_ons.extensions(XE).update("XF" + "a" * 32, enabled=1),
            TypeError,
            "enabled: expected True or False",
        ),
        (lambda c: c.installed_add_ons.usage(WRONG), ValueError, "sid: "),
        (lambda c: c.installed_add_ons.usage(XE).create([]), ValueError, "at least one"),
        (
            lambda c: c.installed_add_ons.usage(XE).create([{"sid": BI, "quantity": 1}]),
            TypeError,
            "billable_items: expected BillableItem",
        ),
        (lambda c: c.listings.fetch(XE), ValueError, "sid: .* available Add-on or listing"),
        (lambda c: c.listings.update(SPAM_SCORE), ValueError, "nothing to change"),
        (lambda c: c.listings.create(module_info=None), TypeError, "module_info: expected"),
        (
            lambda c: c.referral_conversions.create(referral_account_sid=XE),
            ValueError,
            "referral_account_sid: .* of an account",
        ),
    ],
)
async def test_invalid_arguments_are_refused_before_anything_is_sent(
    marketplace_client: MarketplaceClient,
    marketplace_emulator: Emulator,
    call: Call,
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        await call(marketplace_client)
    assert len(marketplace_emulator.log) == 0

"""Twilio's official Python client against the emulator.

It cannot report usage or convert referrals, because it sends those JSON bodies as forms.
"""

import asyncio
import json
from typing import Any

import pytest

from marketplace_async.emulator import Emulator

twilio_rest = pytest.importorskip("twilio.rest")
twilio_exceptions = pytest.importorskip("twilio.base.exceptions")
twilio_http = pytest.importorskip("twilio.http.async_http_client")

AsyncTwilioHttpClient: Any = twilio_http.AsyncTwilioHttpClient
TwilioRestException: Any = twilio_exceptions.TwilioRestException

AC = "AC" + "1" * 32
SPEECH_TO_TEXT = "XB85b56ed9ce713e0ac62342b901233193"
CONFIGURATION = {
    "callback_method": "POST",
    "callback_url": "https://example.com/your-callback-url",
    "include-keywords": True,
    "include-topics": True,
}


def client(served: Emulator, **options: Any) -> Any:
    client = twilio_rest.Client(**{"username": AC, "password": "x", **options})
    client.marketplace.base_url = client.api.base_url = served.url
    return client


@pytest.fixture
def marketplace(served: Emulator) -> Any:
    return client(served).marketplace.v1


def test_the_samples_of_the_documentation_work(marketplace: Any) -> None:
    installed = marketplace.installed_add_ons.create(
        available_add_on_sid=SPEECH_TO_TEXT,
        accept_terms_of_service=True,
        configuration=CONFIGURATION,
        unique_name="transcription",
    )
    assert installed.configuration == CONFIGURATION
    assert marketplace.installed_add_ons(installed.sid).fetch().unique_name == "transcription"
    assert [one.sid for one in marketplace.installed_add_ons.list(limit=20)] == [installed.sid]
    updated = marketplace.installed_add_ons(installed.sid).update(
        configuration={}, unique_name="other"
    )
    assert (updated.configuration, updated.unique_name) == ({}, "other")
    assert marketplace.installed_add_ons(installed.sid).update().unique_name == "other"
    assert marketplace.installed_add_ons(installed.sid).delete() is True
    assert marketplace.installed_add_ons.list() == []


def test_add_ons_are_listed_and_extensions_are_enabled(marketplace: Any) -> None:
    add_ons = marketplace.available_add_ons.list()
    assert len(add_ons) >= 12
    assert marketplace.available_add_ons(add_ons[0].sid).fetch().friendly_name
    (extension,) = marketplace.available_add_ons(SPEECH_TO_TEXT).extensions.list()
    fetched = marketplace.available_add_ons(SPEECH_TO_TEXT).extensions(extension.sid).fetch()
    assert fetched.unique_name == "recording-dial"
    installed = marketplace.installed_add_ons.create(
        available_add_on_sid=SPEECH_TO_TEXT, accept_terms_of_service=True
    )
    extensions = marketplace.installed_add_ons(installed.sid).extensions
    assert [one.enabled for one in extensions.list()] == [False]
    assert extensions(extension.sid).update(enabled=True).enabled is True
    assert extensions(extension.sid).fetch().enabled is True


def test_lists_are_paginated(marketplace: Any) -> None:
    sids = [
        marketplace.installed_add_ons.create(
            available_add_on_sid=SPEECH_TO_TEXT, accept_terms_of_service=True
        ).sid
        for _ in range(120)
    ]
    assert [one.sid for one in marketplace.installed_add_ons.list()] == sids
    assert [one.sid for one in marketplace.installed_add_ons.list(page_size=7)] == sids
    page = marketplace.installed_add_ons.page(page_size=50)
    following = page.next_page()
    assert [one.sid for one in following] == sids[50:100]
    assert [one.sid for one in following.previous_page()] == sids[:50]


def test_errors_are_parsed(marketplace: Any, served: Emulator) -> None:
    with pytest.raises(TwilioRestException) as error:
        marketplace.installed_add_ons("XE" + "0" * 32).fetch()
    assert (error.value.status, error.value.code) == (404, 20404)
    with pytest.raises(TwilioRestException) as error:
        marketplace.installed_add_ons.create(
            available_add_on_sid=SPEECH_TO_TEXT,
            accept_terms_of_service=True,
            configuration={"callback_url": 5},
        )
    assert (error.value.status, error.value.code) == (400, 20001)
    assert error.value.details["errors"][0]["path"] == "callback_url"
    invalid = twilio_rest.Client("me", "x")
    invalid.marketplace.base_url = served.url
    with pytest.raises(TwilioRestException) as error:
        invalid.marketplace.v1.installed_add_ons("XE" + "0" * 32).fetch()
    assert (error.value.status, error.value.code) == (401, 20003)


def test_listings_are_created_fetched_and_updated(marketplace: Any) -> None:
    created = marketplace.module_data.create(module_info=json.dumps({"name": "x"}))
    assert marketplace.module_data.fetch() is not None
    listing = marketplace.module_data_management(created.sid)
    assert listing.fetch().module_info == {"name": "x"}
    assert listing.update(pricing=json.dumps({"body": "free"})).pricing == {"body": "free"}


def test_subaccounts_are_created_listed_suspended_and_closed(served: Emulator) -> None:
    parent = client(served)
    created = [parent.api.v2010.accounts.create(friendly_name=f"Shop {n}").sid for n in range(7)]
    accounts = parent.api.v2010.accounts.list(page_size=3)
    assert [one.sid for one in accounts] == [AC, *created]
    assert {one.owner_account_sid for one in accounts} == {AC}
    assert all(one.date_created.tzinfo is not None for one in accounts)
    page = parent.api.v2010.accounts.page(page_size=5)
    following = page.next_page()
    assert [one.sid for one in following] == created[4:]
    assert [one.sid for one in following.previous_page()] == [AC, *created[:4]]
    (shop,) = parent.api.v2010.accounts.list(friendly_name="Shop 3")
    own = client(served, username=shop.sid, password=shop.auth_token)
    assert own.api.v2010.accounts(shop.sid).fetch().friendly_name == "Shop 3"
    assert own.marketplace.v1.installed_add_ons.list() == []
    installed = own.marketplace.v1.installed_add_ons("XE" + "0" * 32)
    for status, count, error_status in (
        ("suspended", 1, (403, 20403)),
        ("active", 8, (404, 20404)),
        ("closed", 1, (403, 20403)),
    ):
        assert parent.api.v2010.accounts(shop.sid).update(status=status).status == status
        assert len(parent.api.v2010.accounts.list(status=status)) == count
        with pytest.raises(TwilioRestException) as error:
            installed.fetch()
        assert (error.value.status, error.value.code) == error_status
    with pytest.raises(TwilioRestException) as error:
        parent.api.v2010.accounts(shop.sid).update(status="active")
    assert error.value.status == 400


@pytest.mark.filterwarnings("ignore:BasicAuth is deprecated", "ignore:The 'auth' parameter")
def test_the_async_methods_work(served: Emulator) -> None:
    async def run() -> list[str]:
        http = AsyncTwilioHttpClient()
        marketplace = client(served, http_client=http).marketplace.v1
        try:
            installed = await marketplace.installed_add_ons.create_async(
                available_add_on_sid=SPEECH_TO_TEXT,
                accept_terms_of_service=True,
                configuration=CONFIGURATION,
            )
            found = await marketplace.installed_add_ons.list_async(limit=20)
            assert await marketplace.installed_add_ons(installed.sid).delete_async() is True
            return [one.unique_name for one in found]
        finally:
            await http.session.close()

    assert asyncio.run(run()) == ["ibm_watson_speechtotext"]

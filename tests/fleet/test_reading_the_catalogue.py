"""The catalogue: which credentials read it, and how a desired state is checked against it."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.fleet import PARENT, SPAM_SCORE, VOICEBASE, Fleet, lines

from marketplace_async import (
    AccountToken,
    AuthenticationError,
    AvailableAddOn,
    Credentials,
    CredentialsError,
    MarketplaceClient,
    RequestTimeoutError,
    Retry,
    Timeout,
    fleet,
)
from marketplace_async.emulator import Emulator
from marketplace_async.fleet import DesiredStateError
from marketplace_async.fleet.catalogue import Catalogue, check_configurations
from marketplace_async.resources.available_add_ons import configuration_errors

DESIRED = f"""
[[add_ons]]
unique_name = "spam"
available_add_on_sid = "{SPAM_SCORE}"
accept_terms_of_service = true
accounts = "all"
"""


# -- the credentials


def accounts_file(folder: Path, rows: list[tuple[str, str]]) -> Path:
    file = folder / "accounts.csv"
    file.touch(mode=0o600)
    text = "".join(f"{sid},{token}\n" for sid, token in rows)
    file.write_text(f"account_sid,auth_token\n{text}")
    return file


async def test_the_catalogue_is_read_with_the_first_account_that_works(
    marketplace_emulator: Emulator, tmp_path: Path
) -> None:
    accounts = marketplace_emulator.add_subaccounts(PARENT, 4)
    rows = [(accounts[0][0], "wrong"), (accounts[1][0], "wrong"), accounts[2], accounts[3]]
    source = fleet.AccountsFile(
        accounts_file(tmp_path, rows), {"base_url": marketplace_emulator.url}
    )
    plan = await fleet.plan(source, fleet.parse(DESIRED))
    assert (plan.accounts, plan.steps, plan.failures.count) == (4, 2, 2)
    assert {one.error for one in plan.failures.first} == {"AuthenticationError"}


@pytest.mark.parametrize("count", [1, 8])
async def test_an_error_names_the_accounts_whose_credentials_were_rejected(
    marketplace_emulator: Emulator, tmp_path: Path, count: int
) -> None:
    accounts = marketplace_emulator.add_subaccounts(PARENT, count)
    rows = [(sid, "very-wrong") for sid, _ in accounts]
    source = fleet.AccountsFile(
        accounts_file(tmp_path, rows), {"base_url": marketplace_emulator.url}
    )
    with pytest.raises((CredentialsError, AuthenticationError)) as caught:
        await fleet.plan(source, fleet.parse(DESIRED))
    message = str(caught.value)
    assert all(sid in message for sid, _ in accounts[:5])
    assert not any(sid in message for sid, _ in accounts[5:])
    assert ("and 3 more" in message) is (count == 8)
    assert "very-wrong" not in message
    assert not marketplace_emulator.log.matching("GET", "/v1/InstalledAddOns")


async def test_the_error_of_a_parent_account_names_it(marketplace_emulator: Emulator) -> None:
    ((sid, _),) = marketplace_emulator.add_subaccounts(PARENT, 1)
    connect = partial(
        MarketplaceClient, AccountToken(sid, "wrong"), base_url=marketplace_emulator.url
    )
    with pytest.raises(AuthenticationError, match=sid):
        await fleet.plan(fleet.Subaccounts(connect), fleet.parse(DESIRED))


def broken_vault(sid: str) -> Credentials:
    if sid.endswith("1"):
        raise KeyError(f"no secret for {sid}")
    return AccountToken(sid, "x")


async def test_an_account_whose_credentials_cannot_be_looked_up_is_passed_over(
    marketplace_emulator: Emulator,
) -> None:
    sids = ["AC" + digit * 32 for digit in "12"]
    source = fleet.Vault(lambda: sids, broken_vault, {"base_url": marketplace_emulator.url})
    plan = await fleet.plan(source, fleet.parse(DESIRED))
    assert (plan.accounts, plan.steps, plan.failures.count) == (2, 1, 1)
    source = fleet.Vault(lambda: sids[:1], broken_vault, {"base_url": marketplace_emulator.url})
    with pytest.raises(CredentialsError, match=f"{sids[0]}: .*no secret for"):
        await fleet.plan(source, fleet.parse(DESIRED))


async def test_a_service_that_does_not_respond_is_not_asked_once_per_account(
    marketplace_emulator: Emulator, tmp_path: Path
) -> None:
    faults = marketplace_emulator.faults
    fault = faults.add("GET", "/v1/AvailableAddOns/*", delay=30.0, times=None)
    options: Any = {
        "base_url": marketplace_emulator.url,
        "timeout": Timeout(total=0.2),
        "retry": Retry(attempts=1),
    }
    rows = marketplace_emulator.add_subaccounts(PARENT, 5)
    source = fleet.AccountsFile(accounts_file(tmp_path, rows), options)
    with pytest.raises(RequestTimeoutError):
        await fleet.plan(source, fleet.parse(DESIRED))
    assert fault.hits == 3


async def test_an_account_that_does_not_respond_is_passed_over(
    marketplace_emulator: Emulator, tmp_path: Path
) -> None:
    marketplace_emulator.faults.add("GET", "/v1/AvailableAddOns/*", delay=30.0)
    options: Any = {
        "base_url": marketplace_emulator.url,
        "timeout": Timeout(total=0.5),
        "retry": Retry(attempts=1),
    }
    rows = marketplace_emulator.add_subaccounts(PARENT, 2)
    source = fleet.AccountsFile(accounts_file(tmp_path, rows), options)
    plan = await fleet.plan(source, fleet.parse(DESIRED))
    assert (plan.accounts, plan.failures.count) == (2, 0)


# -- the configurations of a file, before any account is read


VOICE = f"""
[[add_ons]]
unique_name = "voice"
available_add_on_sid = "{VOICEBASE}"
accept_terms_of_service = true
accounts = "all"
"""


async def test_all_that_the_catalogue_contradicts_is_reported_at_once_and_once(
    shops: Fleet,
) -> None:
    text = f"""\
[[add_ons]]
unique_name = "gone"
available_add_on_sid = "XB{"0" * 32}"
accept_terms_of_service = true
accounts = "all"
{VOICE}
[add_ons.configuration]
callback_url = "https://x.example"
callback_method = "PUT"

[add_ons.extensions]
recording-dail = true

[[add_ons.overrides]]
accounts = {{ friendly_names = ["Shop 1"] }}
configuration = {{ callback_metod = "GET" }}
"""
    with pytest.raises(DesiredStateError) as caught:
        await fleet.plan(shops.source, fleet.parse(text))
    assert caught.value.problems == (
        f"line 3: add_ons[0].available_add_on_sid (gone): Add-on XB{'0' * 32} does not exist",
        "line 15: add_ons[1].configuration.callback_method (voice): does not match the Add-on's "
        'schema: "PUT" is not one of "GET" or "POST"',
        "line 18: add_ons[1].extensions.recording-dail (voice): VoiceBase High Accuracy "
        "Transcription has no such extension; did you mean recording-dial?",
        "line 22: add_ons[1].overrides[0].configuration (voice): does not match the Add-on's "
        "schema: Additional properties are not allowed ('callback_metod' was unexpected)",
    )
    assert not shops.emulator.log.matching("GET", "/v1/InstalledAddOns")


async def test_a_value_that_differs_from_account_to_account_is_checked_on_each(
    shops: Fleet, tmp_path: Path
) -> None:
    text = f"""
{VOICE}
[add_ons.configuration]
callback_url = "https://x.example/{{account_sid}}"
callback_method = "{{friendly_name}}"
"""
    shops.emulator.add_subaccounts(PARENT, 1, friendly_name="GET")
    file = tmp_path / "plan.jsonl"
    plan = await fleet.plan(shops.source, fleet.parse(text), to=file)
    assert (plan.steps, plan.failures.count) == (1, 41)
    (line,) = lines(file)
    (step,) = line["steps"]
    assert [change["after"] for change in step["changes"]] == [
        f'"https://x.example/{line["account_sid"]}"',
        '"GET"',
    ]
    assert {"schema: callback_method: " in one.message for one in plan.failures.first} == {True}


SCHEMA = {
    "type": "object",
    "properties": {
        "url": {"type": "string"},
        "method": {"enum": ["GET", "POST"]},
        "limits": {
            "type": "object",
            "properties": {"minutes": {"type": "integer"}},
            "required": ["minutes"],
        },
        "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
        "token": {"type": "string", "minLength": 20},
    },
    "required": ["url"],
    "additionalProperties": False,
}


def check(
    configuration: Any, *overrides: Any, schema: dict[str, Any] = SCHEMA, **changes: Any
) -> list[str]:
    """Return the certain problems, as (path within the Add-on, message)."""
    add_on = {
        "unique_name": "a",
        "available_add_on_sid": SPAM_SCORE,
        "accept_terms_of_service": True,
        "accounts": "all",
        "overrides": [{"accounts": "all", "configuration": one} for one in overrides],
        **({} if configuration is None else {"configuration": configuration}),
        **{name: value for name, value in changes.items() if name != "secret"},
    }
    desired = fleet.from_document({"add_ons": [add_on], "secret": changes.get("secret", [])})
    problems = desired.problems()
    record = AvailableAddOn(sid=SPAM_SCORE, configuration_schema=schema)
    check_configurations(desired, Catalogue({SPAM_SCORE: record}), problems)
    try:
        problems.check()
    except DesiredStateError as error:
        return [
            one.replace("add_ons[0].", "").replace(" (a): does not match the Add-on's schema", "")
            for one in error.problems
        ]
    return []


BAD_METHOD = '"PUT" is not one of "GET" or "POST"'
NO_URL = '"url" is a required property'


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (lambda: check({"url": "x"}), []),
        (lambda: check({}), [f"configuration: {NO_URL}"]),
        (lambda: check({"url": 5}), ['configuration.url: 5 is not of type "string"']),
        (
            lambda: check({"url": "x", "tags": ["a", 5]}),
            ['configuration.tags.1: 5 is not of type "string"'],
        ),
        # An override may add a key that the base lacks.
        (lambda: check({}, {"url": "x"}), []),
        (lambda: check({}, {"method": "GET"}, {"url": "x"}), []),
        (lambda: check({}, {"method": "GET"}), [f"configuration: {NO_URL}"]),
        (lambda: check(None, {"method": "GET"}), [f"overrides[0].configuration: {NO_URL}"]),
        (lambda: check(None, {"method": "GET"}, {"url": "x"}), []),
        # No other override can fix a wrong value.
        (lambda: check({"method": "PUT"}, {"url": "x"}), [f"configuration.method: {BAD_METHOD}"]),
        (
            lambda: check({"url": "x"}, {"method": "GET"}, {"method": "PUT"}),
            [f"overrides[1].configuration.method: {BAD_METHOD}"],
        ),
        (
            lambda: check({"url": "x"}, {"limits": {"minutes": "5"}}),
            ['overrides[0].configuration.limits.minutes: "5" is not of type "integer"'],
        ),
        (lambda: check({"url": "x"}, {"limits": {}}, {"limits": {"minutes": 5}}), []),
        (
            lambda: check({"url": "x"}, {"extra": 1}, {"method": "GET"}),
            [
                "overrides[0].configuration: Additional properties are not allowed ('extra' was "
                "unexpected)"
            ],
        ),
        (
            lambda: check({"url": "x"}, {"url": {"remove": True}}),
            [f"overrides[0].configuration: {NO_URL}"],
        ),
        # An account may have the keys that are ignored.
        (lambda: check({}, ignore=["url"]), []),
        (
            lambda: check({"method": "PUT"}, ignore=["url"]),
            [f"configuration.method: {BAD_METHOD}"],
        ),
        # Values that are only known for an account are not checked.
        (lambda: check({"url": "x", "method": "{friendly_name}"}), []),
        (lambda: check({"method": "{friendly_name}"}), [f"configuration: {NO_URL}"]),
        (lambda: check({"url": "x", "tags": ["{friendly_name}", "{account_sid}"]}), []),
        (
            lambda: check({"url": "{friendly_name}", "method": 5}),
            ['configuration.method: 5 is not one of "GET" or "POST"'],
        ),
        (
            lambda: check(
                {"method": "{friendly_name}"}, schema={"not": {"required": ["a"]}, **SCHEMA}
            ),
            [],
        ),
        (
            lambda: check({"url": "x", "token": "short-token"}, secret=["token"]),
            ['configuration.token: "***" is shorter than 20 characters'],
        ),
    ],
)
def test_only_what_is_certainly_wrong_is_reported_before_the_accounts_are_known(
    found: Callable[[], list[str]], expected: list[str]
) -> None:
    assert found() == expected


def test_the_same_configuration_is_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = []

    def counted(record: AvailableAddOn, configuration: dict[str, Any]) -> Any:
        checked.append(configuration)
        return configuration_errors(record, configuration)

    monkeypatch.setattr("marketplace_async.fleet.catalogue.configuration_errors", counted)
    check({"url": "x"}, *[{"method": method} for method in ("GET", "POST", "GET")] * 20)
    assert len(checked) == 3

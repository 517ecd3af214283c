"""The commands for one account: requests and output."""

import csv
import io
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from support.command_line import SID, Cli

from marketplace_async.cli.status import Status
from marketplace_async.emulator import AddOn, Catalogue, Emulator
from marketplace_async.testing import account

TRANSCRIPTION = "XB85b56ed9ce713e0ac62342b901233193"
SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"
NOWHERE = "XE" + "0" * 32
ITEM = "BI" + "0" * 31 + "1"
OTHER_ITEM = "BI" + "0" * 31 + "2"
TERMS = "--accept-terms-of-service"


@pytest.fixture
def installed(served: Emulator) -> str:
    (sid,) = served.install(SID, TRANSCRIPTION)
    return sid


def requests(served: Emulator) -> list[tuple[str, str]]:
    """Return the requests, with a placeholder for each SID."""
    return [
        (entry.method, re.sub(r"\b([A-Z]{2})[0-9a-f]{32}", r"{\1}", entry.path))
        for entry in served.log
    ]


# -- the operations


def test_every_operation_has_a_command(cli: Cli, served: Emulator) -> None:
    extension = cli("available", "extensions", "list", TRANSCRIPTION).json["sid"]
    config = '{"callback_method": "POST"}'
    create = ("installed", "create", TRANSCRIPTION, TERMS, "--no-check-schema")
    sid = cli(*create, "--configuration", config).json["sid"]
    own = cli("listings", "create", "--module-info", '{"name": "Mine"}').json["sid"]
    for command, names in (
        (["available", "list", "--limit", "1"], {"sid", "friendly_name", "configuration_schema"}),
        (["available", "fetch", TRANSCRIPTION], {"sid", "friendly_name", "configuration_schema"}),
        (["available", "extensions", "fetch", TRANSCRIPTION, extension], {"product_name"}),
        (["installed", "list"], {"sid", "configuration", "unique_name", "date_created"}),
        (["installed", "fetch", sid], {"sid", "configuration", "unique_name", "date_created"}),
        (["installed", "update", sid, "--unique-name", "new"], {"unique_name"}),
        (["installed", "extensions", "list", sid], {"enabled"}),
        (["installed", "extensions", "fetch", sid, extension], {"enabled"}),
        (["installed", "extensions", "enable", sid, extension], {"enabled"}),
        (["installed", "extensions", "disable", sid, extension], {"enabled"}),
        (["installed", "usage", "create", sid, f"{ITEM}=1.50"], {"total_submitted"}),
        (["listings", "list"], {"name"}),
        (["listings", "fetch", own], {"module_info"}),
        (["listings", "update", own, "--pricing", '{"body": "$1"}'], {"pricing"}),
        (["referrals", "create", account(2).account_sid], {"converted_account_sid"}),
        (["installed", "delete", sid, "--yes"], {"deleted"}),
    ):
        finished = cli(*command)
        assert (finished.status, finished.err) == (0, ""), command
        assert names <= finished.json.keys(), command
    assert set(requests(served)) == {
        ("GET", "/v1/AvailableAddOns"),
        ("GET", "/v1/AvailableAddOns/{XB}"),
        ("GET", "/v1/AvailableAddOns/{XB}/Extensions"),
        ("GET", "/v1/AvailableAddOns/{XB}/Extensions/{XF}"),
        ("POST", "/v1/InstalledAddOns"),
        ("GET", "/v1/InstalledAddOns"),
        ("GET", "/v1/InstalledAddOns/{XE}"),
        ("POST", "/v1/InstalledAddOns/{XE}"),
        ("DELETE", "/v1/InstalledAddOns/{XE}"),
        ("GET", "/v1/InstalledAddOns/{XE}/Extensions"),
        ("GET", "/v1/InstalledAddOns/{XE}/Extensions/{XF}"),
        ("POST", "/v1/InstalledAddOns/{XE}/Extensions/{XF}"),
        ("POST", "/v1/InstalledAddOns/{XE}/Usage"),
        ("POST", "/v1/ReferralConversion"),
        ("POST", "/v1/Listings"),
        ("GET", "/v1/Listings"),
        ("GET", "/v1/Listing/{XB}"),
        ("POST", "/v1/Listing/{XB}"),
    }


@pytest.mark.parametrize("output", ["table", "json", "jsonl", "csv"])
def test_accounts_are_shown_without_their_auth_tokens(
    cli: Cli, served: Emulator, output: str
) -> None:
    cli("installed", "list")  # the first request creates the account
    subaccounts = served.add_subaccounts(SID, 3, friendly_name="sub-{number}")
    served.add_subaccounts(SID, 1, friendly_name="closed", status="closed")
    everything = cli("accounts", "list", "--output", output)
    assert (everything.status, everything.err) == (0, "")
    for sid, token in subaccounts:
        assert sid in everything.out
        fetched = cli("accounts", "fetch", sid, "--output", output)
        assert "sub-" in fetched.out
        assert token not in everything.out + fetched.out
    for options, count in ((["--status", "closed"], 1), (["--friendly-name", "sub-2"], 1)):
        assert len(cli("accounts", "list", *options).out.splitlines()) == count


def test_enable_and_disable_set_the_state(cli: Cli, installed: str) -> None:
    extension = cli("installed", "extensions", "list", installed).json
    assert extension["enabled"] is False
    for word, enabled in (("enable", True), ("enable", True), ("disable", False)):
        shown = cli("installed", "extensions", word, installed, extension["sid"]).json
        assert shown["enabled"] is enabled
        fetched = cli("installed", "extensions", "fetch", installed, extension["sid"]).json
        assert fetched["enabled"] is enabled


def test_ensure_reports_its_action(cli: Cli) -> None:
    for configuration, action in (("GET", "installed"), ("GET", "unchanged"), ("POST", "updated")):
        shown = cli(
            *("installed", "ensure", TRANSCRIPTION, TERMS, "--unique-name", "ensured"),
            *("--configuration", json.dumps({"callback_method": configuration})),
        ).json
        assert shown["action"] == action
        assert shown["configuration"] == {"callback_method": configuration}
        assert shown["unique_name"] == "ensured"


def test_list_options_are_sent_and_checked(cli: Cli, served: Emulator) -> None:
    served.install(SID, SPAM_SCORE, times=5)
    assert len(cli("installed", "list", "--limit", "3", "--page-size", "2").out.splitlines()) == 3
    assert next(iter(served.log)).query == "PageSize=2"
    assert cli("installed", "list", "--limit", "0").out == ""
    for options, message in (
        (["--page-size", "1001"], "page_size: expected 1 to 1000, got 1001"),
        (["--limit", "-1"], "limit: expected at least 0, got -1"),
        (["--start", "nonsense"], "start: expected a link to a page of /v1/InstalledAddOns"),
    ):
        finished = cli("installed", "list", *options)
        assert (finished.status, finished.out) == (2, "")
        assert message in finished.err


def test_an_interrupted_list_says_where_to_continue(cli: Cli, served: Emulator) -> None:
    sids = served.install(SID, SPAM_SCORE, times=4)
    everything = [json.loads(line)["sid"] for line in cli("installed", "list").out.splitlines()]
    assert set(everything) == set(sids)
    fault = served.faults.add("GET", "*", delay=0.001)  # only the first page succeeds
    served.faults.add("GET", "*", status=403)
    broken = cli("installed", "list", "--page-size", "2", "--output", "json")
    assert fault.hits == 1
    assert broken.status == 1
    with pytest.raises(json.JSONDecodeError):  # an incomplete array is not valid JSON
        json.loads(broken.out)
    (start,) = re.findall(r"add --start '(.+?)'", broken.err)
    rest = [
        json.loads(line)["sid"]
        for line in cli("installed", "list", "--start", start).out.splitlines()
    ]
    assert re.findall(r'"sid": "(\w+)"', broken.out) + rest == everything


def test_own_listings_show_undocumented_fields(cli: Cli) -> None:
    cli("listings", "create", "--module-info", '{"name": "Mine", "extra": [1], "price": 15}')
    (row,) = csv.DictReader(io.StringIO(cli("listings", "list", "--output", "csv").out))
    assert (row["name"], row["extra"], row["price"], row["sid"]) == ("Mine", "[1]", "15", "")
    table = cli("listings", "list", "--output", "table").out.splitlines()
    assert [line.split() for line in table] == [["name", "extra", "price"], ["Mine", "[1]", "15"]]


# -- output


def test_every_format_of_a_list_has_the_same_records(cli: Cli, served: Emulator) -> None:
    served.install(SID, TRANSCRIPTION, {"callback_method": "POST"}, times=3)
    lines = cli("installed", "list", "--output", "jsonl").out.splitlines()
    records = [json.loads(line) for line in lines]
    assert len(records) == 3
    assert cli("installed", "list", "--output", "json").json == records
    text = cli("installed", "list", "-o", "csv").out
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert (text.count("\n"), text.count("\r")) == (4, 0)
    for row, record in zip(rows, records, strict=True):
        assert json.loads(row["configuration"]) == record["configuration"]
        assert json.loads(row["links"]) == record["links"]
        plain = record.keys() - {"configuration", "links"}
        assert {name: row[name] for name in plain} == {name: record[name] for name in plain}
    header, *table = cli("installed", "list", "--output", "table").out.splitlines()
    assert header.split() == ["sid", "unique_name", "friendly_name", "date_created"]
    assert [line.split()[0] for line in table] == [record["sid"] for record in records]


def test_every_format_of_a_record_has_the_same_fields(cli: Cli, installed: str) -> None:
    record = cli("installed", "fetch", installed).json
    assert cli("installed", "fetch", installed, "--output", "json").json == record
    (row,) = csv.DictReader(io.StringIO(cli("installed", "fetch", installed, "-o", "csv").out))
    assert row["sid"] == installed
    assert row.keys() == record.keys()
    table = cli("installed", "fetch", installed, "--output", "table").out
    assert re.findall(r"^(\w+)", table, re.MULTILINE) == list(record)


def test_an_empty_list_is_complete_in_every_format(cli: Cli) -> None:
    assert cli("installed", "list", "--output", "json").out == "[]\n"
    assert cli("installed", "list", "--output", "jsonl").out == ""
    assert cli("installed", "list", "--output", "csv").out.startswith("sid,account_sid,")
    assert cli("installed", "list", "--output", "table").out == ""


# -- configurations


def test_a_configuration_is_an_argument_a_file_or_standard_input(
    cli: Cli, installed: str, tmp_path: Path
) -> None:
    file = tmp_path / "configuration.json"
    file.write_text('{"callback_method": "GET"}')
    for given, stdin, method in (
        ('{"callback_method": "POST"}', None, "POST"),
        (f"@{file}", None, "GET"),
        ("-", '{"callback_method": "POST"}\n', "POST"),
    ):
        shown = cli("installed", "update", installed, "--configuration", given, stdin=stdin).json
        assert shown["configuration"] == {"callback_method": method}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("{", "not JSON: Expecting property name enclosed in double quotes, line 1"),
        ("[1]", 'not a JSON object, such as {"bad_words": true}'),
        ('{"a": 1, "a": 2}', 'duplicate key "a"'),
        ('{"a": NaN}', "NaN is not JSON"),
        ('{"a": 0.12345678901234567890}', "would be sent as 0.12345678901234568"),
        ('{"a": 1e999}', "1e999 would be sent as inf"),
        ("[" * 100_000, "nested too deeply"),
        ("@/nowhere.json", "/nowhere.json: No such file or directory."),
        ("@binary.json", "binary.json: not UTF-8"),
    ],
)
def test_a_configuration_that_would_change_when_sent_is_rejected(
    cli: Cli,
    served: Emulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("binary.json").write_bytes(b'{"a": "\xff"}')
    finished = cli("installed", "create", SPAM_SCORE, TERMS, "--configuration", given)
    assert finished.status == 2
    assert message in finished.err
    assert not served.log.matching()


@pytest.mark.parametrize("number", ["1", "1.0", "0.1", "1e3", "12345678901234567890", "-0.5"])
def test_exact_numbers_are_accepted(cli: Cli, number: str) -> None:
    create = ("installed", "create", SPAM_SCORE, TERMS, "--no-check-schema")
    rejected = cli(*create, "--configuration", f'{{"number": {number}}}')
    # The service rejects it: the schema of this Add-on allows no settings.
    assert rejected.status == 1
    assert "400" in rejected.err


WRONG = '{"callback_url": 5, "callback_method": "PUT"}'
ISSUES = """\
  callback_url: 5 is not of type "string"
  callback_method: "PUT" is not one of "GET" or "POST"
"""


@pytest.mark.parametrize(
    "command",
    [
        ["create", TRANSCRIPTION, TERMS],
        ["ensure", TRANSCRIPTION, TERMS, "--unique-name", "new"],
        ["update", "{installed}"],
    ],
    ids=lambda command: str(command[0]),
)
def test_a_configuration_is_checked_first_and_every_issue_is_shown(
    cli: Cli, served: Emulator, installed: str, command: list[str]
) -> None:
    words = [word.replace("{installed}", installed) for word in command]
    finished = cli("installed", *words, "--configuration", WRONG)
    assert finished.status == 2
    assert (
        f"schema of {TRANSCRIPTION}; nothing was sent\n{ISSUES}hint: `marketplace" in finished.err
    )
    assert not served.log.matching("POST")
    unchecked = cli("installed", *words, "--configuration", WRONG, "--no-check-schema")
    assert unchecked.status == 1
    assert unchecked.err.startswith("error: 400 20001: ")


def test_the_service_checks_the_configuration_of_an_add_on_outside_the_catalogue(
    cli: Cli, served: Emulator, installed: str
) -> None:
    served.faults.add("GET", "/v1/AvailableAddOns/*", status=404)
    finished = cli(
        "installed", "update", installed, "--configuration", '{"callback_method": "GET"}'
    )
    assert finished.status == 0
    assert (
        finished.err
        == "warning: the Add-on is no longer in the catalogue; the configuration was not checked\n"
    )


# -- usage


def test_usage_is_sent_with_all_digits(cli: Cli, served: Emulator, installed: str) -> None:
    quantity = "12345678901234567.12345678901234567890"
    finished = cli("installed", "usage", "create", installed, f"{ITEM}={quantity}")
    assert f'"quantity":{quantity},' in finished.out
    assert [item.quantity for item in served.usage()] == [Decimal(quantity)]
    table = cli("installed", "usage", "create", installed, f"{ITEM}=1000000.0", "-o", "table").out
    assert "total_submitted  1000000.0\n" in table


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (ITEM, "expected BI...=QUANTITY, such as BI...=12.355, got"),
        (f"{ITEM}=", "expected BI...=QUANTITY"),
        (f"{ITEM}=1,5", "expected BI...=QUANTITY"),
        (f"{ITEM}=1e3", "expected BI...=QUANTITY"),
        (f"{ITEM}=NaN", "expected BI...=QUANTITY"),
        (f"{ITEM}=-1", "expected BI...=QUANTITY"),
        (f"{ITEM}=0", "quantity: expected more than 0"),
        ("BI1=5", "sid: 'BI1' is not the SID of a billing item"),
    ],
)
def test_invalid_usage_is_rejected(
    cli: Cli, served: Emulator, installed: str, item: str, message: str
) -> None:
    finished = cli("installed", "usage", "create", installed, item)
    assert finished.status == 2
    assert message in finished.err
    assert not served.log.matching()


# -- several


def test_a_failure_does_not_stop_the_other_records(
    cli: Cli, served: Emulator, installed: str
) -> None:
    (second,) = served.install(SID, SPAM_SCORE)
    finished = cli("installed", "delete", installed, NOWHERE, second, "--yes")
    assert finished.status == Status.PARTLY_FAILED
    assert [json.loads(line)["sid"] for line in finished.out.splitlines()] == [installed, second]
    assert f"{NOWHERE} was not found" in finished.err
    assert finished.err.endswith("error: 1 of 3 failed\n")
    finished = cli("installed", "delete", installed, second, "--yes")
    assert (finished.status, finished.out) == (Status.FAILED, "")
    assert finished.err.endswith("error: 2 of 2 failed\n")
    finished = cli("installed", "delete", installed, second, "--yes", "--output", "table")
    assert "no results" not in finished.err


@pytest.fixture
def partner() -> Iterator[Emulator]:
    """An emulator with an Add-on that has one billing item."""
    with Emulator(catalogue=Catalogue([PARTNERED])) as emulator:
        yield emulator


PARTNERED = AddOn(unique_name="mine", friendly_name="Mine", billing_items=(ITEM,))


def test_items_that_are_not_billed_are_listed(
    cli: Cli, partner: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKETPLACE_BASE_URL", partner.url)
    (sid,) = partner.install(SID, PARTNERED.sid)
    for items, status, error in (
        ([f"{ITEM}=1", f"{OTHER_ITEM}=2"], Status.PARTLY_FAILED, "1 of 2 items"),
        ([f"{OTHER_ITEM}=2"], Status.FAILED, "1 of 1 items"),
    ):
        finished = cli("installed", "usage", "create", sid, *items)
        assert finished.status == status
        assert len(finished.json["billable_items"]) == len(items)
        assert finished.err == (f"error: {error} were not accepted for billing: {OTHER_ITEM}\n")

"""The commands for one account: what they ask the service, show and say."""

import csv
import io
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from cyclopts import App
from rich.console import Console
from support.command_line import SECRET, SID, Cli, commands
from support.paths import PROJECT
from support.served import ServedEmulator, serve

from marketplace_async import PermissionDeniedError, Request, Response, SchemaError
from marketplace_async.cli import main
from marketplace_async.cli.app import app
from marketplace_async.cli.status import Status, explain, tell
from marketplace_async.emulator import AddOn, Catalogue, Emulator
from marketplace_async.testing import account

TRANSCRIPTION = "XB85b56ed9ce713e0ac62342b901233193"
SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"
NOWHERE = "XE" + "0" * 32
ITEM = "BI" + "0" * 31 + "1"
OTHER_ITEM = "BI" + "0" * 31 + "2"
APP = "OQ" + "0" * 31 + "3"
TERMS = "--accept-terms-of-service"


@pytest.fixture
def installed(served: Emulator) -> str:
    (sid,) = served.install(SID, TRANSCRIPTION)
    return sid


def asked(served: Emulator) -> list[tuple[str, str]]:
    """Return what was asked, with a placeholder for each SID."""
    return [
        (one.method, re.sub(r"\b([A-Z]{2})[0-9a-f]{32}", r"{\1}", one.path)) for one in served.log
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
    assert set(asked(served)) == {
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
    cli("installed", "list")  # whoever asks first is an account
    made = served.add_subaccounts(SID, 3, friendly_name="sub-{number}")
    served.add_subaccounts(SID, 1, friendly_name="closed", status="closed")
    everything = cli("accounts", "list", "--output", output)
    assert (everything.status, everything.err) == (0, "")
    for sid, token in made:
        assert sid in everything.out
        one = cli("accounts", "fetch", sid, "--output", output)
        assert "sub-" in one.out
        assert token not in everything.out + one.out
    for options, count in ((["--status", "closed"], 1), (["--friendly-name", "sub-2"], 1)):
        assert len(cli("accounts", "list", *options).out.splitlines()) == count


def test_enabling_and_disabling_do_what_they_say(cli: Cli, installed: str) -> None:
    extension = cli("installed", "extensions", "list", installed).json
    assert extension["enabled"] is False
    for word, enabled in (("enable", True), ("enable", True), ("disable", False)):
        shown = cli("installed", "extensions", word, installed, extension["sid"]).json
        assert shown["enabled"] is enabled
        fetched = cli("installed", "extensions", "fetch", installed, extension["sid"]).json
        assert fetched["enabled"] is enabled


def test_ensure_says_what_it_did(cli: Cli) -> None:
    for configuration, action in (("GET", "installed"), ("GET", "unchanged"), ("POST", "updated")):
        shown = cli(
            *("installed", "ensure", TRANSCRIPTION, TERMS, "--unique-name", "ensured"),
            *("--configuration", json.dumps({"callback_method": configuration})),
        ).json
        assert shown["action"] == action
        assert shown["configuration"] == {"callback_method": configuration}
        assert shown["unique_name"] == "ensured"


def test_options_of_lists_are_those_of_the_api(cli: Cli, served: Emulator) -> None:
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


def test_a_list_that_breaks_off_says_where_to_go_on(cli: Cli, served: Emulator) -> None:
    sids = served.install(SID, SPAM_SCORE, times=4)
    everything = [json.loads(line)["sid"] for line in cli("installed", "list").out.splitlines()]
    assert set(everything) == set(sids)
    fault = served.faults.add("GET", "*", delay=0.001)  # the first page is let through
    served.faults.add("GET", "*", status=403)
    broken = cli("installed", "list", "--page-size", "2", "--output", "json")
    assert fault.hits == 1
    assert broken.status == 1
    with pytest.raises(json.JSONDecodeError):  # half of a list is not taken for the whole
        json.loads(broken.out)
    (start,) = re.findall(r"add --start '(.+?)'", broken.err)
    rest = [
        json.loads(line)["sid"]
        for line in cli("installed", "list", "--start", start).out.splitlines()
    ]
    assert re.findall(r'"sid": "(\w+)"', broken.out) + rest == everything


def test_own_listings_show_what_the_api_does_not_promise(cli: Cli) -> None:
    cli("listings", "create", "--module-info", '{"name": "Mine", "extra": [1], "price": 15}')
    (row,) = csv.DictReader(io.StringIO(cli("listings", "list", "--output", "csv").out))
    assert (row["name"], row["extra"], row["price"], row["sid"]) == ("Mine", "[1]", "15", "")
    table = cli("listings", "list", "--output", "table").out.splitlines()
    assert [line.split() for line in table] == [["name", "extra", "price"], ["Mine", "[1]", "15"]]


# -- output


def test_each_format_of_a_list_holds_the_same(cli: Cli, served: Emulator) -> None:
    served.install(SID, TRANSCRIPTION, {"callback_method": "POST"}, times=3)
    lines = cli("installed", "list", "--output", "jsonl").out.splitlines()
    records = [json.loads(line) for line in lines]
    assert len(records) == 3
    assert cli("installed", "list", "--output", "json").json == records
    text = cli("installed", "list", "-o", "csv").out
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert text.count("\r\n") == 4
    for row, record in zip(rows, records, strict=True):
        assert json.loads(row["configuration"]) == record["configuration"]
        assert json.loads(row["links"]) == record["links"]
        plain = record.keys() - {"configuration", "links"}
        assert {name: row[name] for name in plain} == {name: record[name] for name in plain}
    header, *table = cli("installed", "list", "--output", "table").out.splitlines()
    assert header.split() == ["sid", "unique_name", "friendly_name", "date_created"]
    assert [line.split()[0] for line in table] == [record["sid"] for record in records]


def test_each_format_of_a_record_holds_the_same(cli: Cli, installed: str) -> None:
    record = cli("installed", "fetch", installed).json
    assert cli("installed", "fetch", installed, "--output", "json").json == record
    (row,) = csv.DictReader(io.StringIO(cli("installed", "fetch", installed, "-o", "csv").out))
    assert row["sid"] == installed
    assert row.keys() == record.keys()
    table = cli("installed", "fetch", installed, "--output", "table").out
    assert re.findall(r"^(\w+)", table, re.MULTILINE) == list(record)


def test_empty_lists_are_whole_in_each_format(cli: Cli) -> None:
    assert cli("installed", "list", "--output", "json").out == "[]\n"
    assert cli("installed", "list", "--output", "jsonl").out == ""
    assert cli("installed", "list", "--output", "csv").out.startswith("sid,account_sid,")
    assert cli("installed", "list", "--output", "table").out == ""


# -- configurations


def test_a_configuration_comes_as_text_from_a_file_or_from_standard_input(
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
        ("{", "it is no JSON: Expecting property name enclosed in double quotes, in line 1"),
        ("[1]", 'it is no JSON object, such as {"bad_words": true}'),
        ('{"a": 1, "a": 2}', 'the key "a" is there twice'),
        ('{"a": NaN}', "JSON has no NaN"),
        ('{"a": 0.12345678901234567890}', "would be sent as 0.12345678901234568"),
        ('{"a": 1e999}', "1e999 would be sent as inf"),
        ("[" * 100_000, "it is nested too deeply"),
        ("@/nowhere.json", "/nowhere.json cannot be read: No such file"),
        ("@binary.json", "binary.json is not UTF-8"),
    ],
)
def test_a_configuration_that_would_not_arrive_as_written_is_refused(
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
def test_numbers_that_survive_are_taken(cli: Cli, number: str) -> None:
    create = ("installed", "create", SPAM_SCORE, TERMS, "--no-check-schema")
    refused = cli(*create, "--configuration", f'{{"number": {number}}}')
    # The schema of this add-on allows no settings: the service has read it, and says so.
    assert refused.status == 1
    assert "400" in refused.err


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
def test_a_configuration_is_checked_first_and_every_issue_shown(
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


def test_where_the_add_on_is_gone_the_service_checks(
    cli: Cli, served: Emulator, installed: str
) -> None:
    served.faults.add("GET", "/v1/AvailableAddOns/*", status=404)
    finished = cli(
        "installed", "update", installed, "--configuration", '{"callback_method": "GET"}'
    )
    assert finished.status == 0
    assert (
        finished.err
        == "note: the add-on is not in the catalogue any more: its schema was not checked\n"
    )


# -- usage


def test_usage_is_billed_digit_for_digit(cli: Cli, served: Emulator, installed: str) -> None:
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
def test_usage_that_cannot_be_right_is_refused(
    cli: Cli, served: Emulator, installed: str, item: str, message: str
) -> None:
    finished = cli("installed", "usage", "create", installed, item)
    assert finished.status == 2
    assert message in finished.err
    assert not served.log.matching()


# -- several


def test_of_several_those_that_can_be_done_are_done(
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
    assert "none" not in finished.err


@pytest.fixture
def partner() -> Iterator[Emulator]:
    """An emulator with an add-on that has one billing item."""
    yield from serve(ServedEmulator(catalogue=Catalogue([PARTNERED])))


PARTNERED = AddOn(unique_name="mine", friendly_name="Mine", billing_items=(ITEM,))


def test_items_that_are_not_billed_are_named(
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


# -- errors


@pytest.mark.parametrize(
    ("fault", "status", "sentence", "hint"),
    [
        ({"status": 400}, 1, "400 20001: ", "https://www.twilio.com/docs/errors/20001"),
        ({"status": 401}, 1, "401 20003: ", f"the account {SID}, from TWILIO_ACCOUNT_SID and"),
        ({"status": 403}, 1, "403 20403: ", f"the account {SID}, from TWILIO_ACCOUNT_SID and"),
        ({"status": 404}, 1, "404 20404: ", f"Is it on this account? You are the account {SID}"),
        ({"status": 409}, 1, "409 20409: ", "`marketplace-async installed list` shows what has"),
        (
            {"status": 429, "retry_after": 60, "times": None},
            1,
            "429 20429: ",
            "nothing was done. Try again in 60 s.",
        ),
        (
            {"status": 500},
            4,
            " may or may not have happened: 500",
            "Look at the account before you do",
        ),
        ({"drop": True}, 4, " may or may not have happened: ", "Look at the account before you do"),
        ({"body": "garbled"}, 4, " may or may not have happened: ", "Look at the account before"),
    ],
)
def test_an_error_is_a_sentence_and_a_hint(
    cli: Cli, served: Emulator, fault: dict[str, Any], status: int, sentence: str, hint: str | None
) -> None:
    served.faults.add("POST", "*", **fault)
    finished = cli("installed", "create", SPAM_SCORE, TERMS, "--no-check-schema")
    assert finished.status == status
    assert finished.out == ""
    lines = finished.err.splitlines()
    assert lines[0].startswith("error: ")
    assert sentence in lines[0]
    if hint is None:
        assert len(lines) == 1
    else:
        assert lines[1].startswith("hint: ")
        assert hint in lines[1]


@pytest.mark.parametrize(
    ("arguments", "sentence", "hint"),
    [
        (
            ["--base-url", "http://127.0.0.1:1"],
            "cannot connect to 127.0.0.1:1",
            "Nothing was sent. The address is http://127.0.0.1:1, from --base-url.",
        ),
        (
            ["--timeout", "0.05"],
            "no answer within 0.05 s",
            "--timeout gives each try more seconds.",
        ),
    ],
)
def test_where_no_answer_comes_the_hint_says_what_to_look_at(
    cli: Cli, served: Emulator, arguments: list[str], sentence: str, hint: str
) -> None:
    served.faults.add("GET", "*", delay=5, times=None)
    finished = cli("available", "fetch", SPAM_SCORE, *arguments)
    assert finished.status == 1
    assert sentence in finished.err
    assert finished.err.endswith(f"hint: {hint}\n")


def test_what_is_not_in_the_catalogue_is_looked_for_there(cli: Cli) -> None:
    finished = cli("available", "fetch", NOWHERE.replace("XE", "XB"))
    assert "hint: `marketplace-async available list` shows the catalogue." in finished.err


def test_where_the_accounts_of_a_file_cannot_be_reached_the_hint_says_who_tells_where(
    cli: Cli, tmp_path: Path
) -> None:
    file = tmp_path / "accounts.csv"
    file.touch(mode=0o600)
    file.write_text(f"account_sid,auth_token\n{SID},made-up\n")
    desired = tmp_path / "fleet.toml"
    desired.write_text(
        '[[add_ons]]\nunique_name = "spam"\naccounts = "all"\naccept_terms_of_service = true\n'
        f'available_add_on_sid = "{SPAM_SCORE}"\n'
    )
    nowhere = ("--base-url", "http://127.0.0.1:1")
    finished = cli("plan", str(desired), "--accounts", str(file), *nowhere)
    assert finished.status == 1
    assert finished.err.endswith(
        "hint: Nothing was sent. --base-url or MARKETPLACE_BASE_URL says where to, if set.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["installed", "nonsense"], 'Unknown command "nonsense"'),
        (["installed", "fetch"], "SID is missing"),
        (["installed", "fetch", "XE1"], "sid: 'XE1' is not the SID of an installed Add-on"),
        (["installed", "fetch", SPAM_SCORE], "the SID of an available Add-on or listing"),
        (["installed", "fetch", NOWHERE, NOWHERE], f"too many arguments: {NOWHERE}"),
        (["installed", "list", "--limt", "3"], "Unknown option: --limt. Did you mean --limit?"),
        (["installed", "list", "--limit", "x"], '--limit: unable to convert "x" into int'),
        (["installed", "list", "--output", "xml"], 'Choose from: "table", "json", "jsonl", "csv"'),
        (["installed", "list", "--timeout", "0"], "must be more than 0 seconds"),
        (["installed", "list", "--base-url", "ftp://x"], "base_url: expected a URL"),
        (["installed", "list", "--base-url", "http://example.com"], "plain http would send"),
        (
            ["installed", "list", "--region", "au1"],
            "--region changes nothing where there is a base",
        ),
        (["installed", "create", SPAM_SCORE], "only if its terms of service are accepted"),
        (["installed", "ensure", SPAM_SCORE, "--unique-name", "x"], "terms of service"),
        (
            ["installed", "create", SPAM_SCORE, TERMS, "--unique-name", " "],
            "unique_name: must not be blank",
        ),
        (["installed", "update", NOWHERE], "nothing to change"),
        (["installed", "delete"], "at least one installed add-on"),
        (["installed", "delete", NOWHERE, "XE1", "--yes"], "sid: 'XE1' is not the SID of"),
        (["installed", "extensions", "enable", NOWHERE], "at least one extension"),
        (
            ["installed", "extensions", "enable", NOWHERE, "XF1"],
            "sid: 'XF1' is not the SID of an ext",
        ),
        (["installed", "usage", "create", NOWHERE], "at least one item"),
        (["listings", "update", SPAM_SCORE], "nothing to change"),
        (["listings", "create"], "--module-info"),
        (
            ["referrals", "create", "AC1"],
            "referral_account_sid: 'AC1' is not the SID of an account",
        ),
    ],
)
def test_what_cannot_be_right_is_refused_before_anything_is_sent(
    cli: Cli, served: Emulator, arguments: list[str], sentence: str
) -> None:
    finished = cli(*arguments)
    assert (finished.status, finished.out) == (2, "")
    assert finished.err.startswith("error: ")
    assert sentence in finished.err.splitlines()[0]
    assert not served.log.matching()


def test_control_characters_of_the_service_are_spelled_out_in_errors(
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = PermissionDeniedError(
        Request("GET", "/v1/X"), Response(403, {}, b""), 20403, "\x1b[31m\nerror: fake\u202e"
    )
    tell(explain(error))
    assert capsys.readouterr().err == (
        "error: 403 20403: \\x1b[31m\\nerror: fake\\u202e (GET /v1/X)\n"
    )


def test_what_fails_alone_is_a_plain_error(cli: Cli) -> None:
    finished = cli("installed", "delete", NOWHERE, "--yes")
    assert (finished.status, finished.out) == (1, "")
    assert finished.err.startswith("error: 404 20404: ")
    assert "of 1 failed" not in finished.err


def test_what_the_service_fails_at_can_be_tried_later(cli: Cli, served: Emulator) -> None:
    served.faults.add("GET", "*", status=500, times=None)
    finished = cli("available", "fetch", SPAM_SCORE)
    assert finished.status == 1
    assert finished.err.endswith("hint: Try again later.\n")


def test_a_token_that_is_refused_names_the_app_and_where_it_came_from(
    cli: Cli, served: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWILIO_CLIENT_ID", APP)
    monkeypatch.setenv("TWILIO_CLIENT_SECRET", SECRET)
    served.faults.add("POST", "/v2/token", status=401)
    finished = cli("available", "list")
    assert finished.status == 1
    assert finished.err.startswith("error: 401 20003: ")
    assert f"the OAuth app {APP}, from TWILIO_CLIENT_ID and TWILIO_CLIENT_SECRET" in finished.err


def test_a_token_that_cannot_be_had_says_so(
    cli: Cli, served: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWILIO_CLIENT_ID", APP)
    monkeypatch.setenv("TWILIO_CLIENT_SECRET", SECRET)
    served.faults.add("POST", "/v2/token", drop=True, times=None)
    finished = cli("available", "list")
    assert finished.status == 1
    assert finished.err.startswith("error: no access token: ")
    assert finished.err.endswith("hint: Try again later.\n")


def test_a_schema_that_cannot_be_used_can_be_left_to_the_service() -> None:
    hint = explain(SchemaError("the configuration schema of XB...: no")).hint
    assert hint == "--no-check-schema leaves the check to the service."


def test_an_error_of_our_own_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        explain(ZeroDivisionError())


# -- help


@pytest.mark.parametrize(
    ("command", "words"),
    [*commands()],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_help_fits_80_columns_and_explains_each_option(
    command: App,
    words: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(app, "console", Console(width=80))
    assert main([*words, "--help"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert text.startswith(" ".join(("Usage: marketplace-async", *words)))
    if command.default_command is not None:
        for argument in command.assemble_argument_collection(parse_docstring=True):
            if argument.show:
                assert argument.parameter.help, argument.names


def test_the_exit_statuses_are_in_the_help_and_in_the_readme(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["--help"])
    help_text = capsys.readouterr().out
    readme = (PROJECT / "README.md").read_text()
    table = readme.split("### Exit statuses")[1].split("\n#")[0]
    numbers = sorted(int(status) for status in Status)
    assert [
        int(number) for number in re.findall(r"^ +(\d+)  \w", help_text, re.MULTILINE)
    ] == numbers
    assert [int(number) for number in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)] == numbers

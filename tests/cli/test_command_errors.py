"""Errors of commands: messages, hints and exit statuses."""

from pathlib import Path
from typing import Any

import pytest
from support.command_line import SECRET, SID, Cli

from marketplace_async import PermissionDeniedError, Request, Response, SchemaError
from marketplace_async.cli import resolution
from marketplace_async.cli.explanations import explain
from marketplace_async.cli.status import print_error
from marketplace_async.emulator import Emulator

SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"
NOWHERE = "XE" + "0" * 32
APP = "OQ" + "0" * 31 + "3"
TERMS = "--accept-terms-of-service"


@pytest.mark.parametrize(
    ("fault", "status", "message", "hint"),
    [
        ({"status": 400}, 1, "400 20001: ", "https://www.twilio.com/docs/errors/20001"),
        (
            {"status": 401},
            1,
            "401 20003: ",
            f"Credentials: account {SID}, from TWILIO_ACCOUNT_SID and",
        ),
        (
            {"status": 403},
            1,
            "403 20403: ",
            f"Credentials: account {SID}, from TWILIO_ACCOUNT_SID and",
        ),
        (
            {"status": 404},
            1,
            "404 20404: ",
            f"Check that it belongs to this account. Credentials: account {SID}",
        ),
        (
            {"status": 409},
            1,
            "409 20409: ",
            "`marketplace-async installed list` shows which Add-on uses the name.",
        ),
        (
            {"status": 429, "retry_after": 60, "times": None},
            1,
            "429 20429: ",
            "Nothing was changed. Retry in 60 s.",
        ),
        (
            {"status": 500},
            4,
            " may or may not have taken effect: 500",
            "Check the account before retrying.",
        ),
        (
            {"drop": True},
            4,
            " may or may not have taken effect: ",
            "Check the account before retrying.",
        ),
        (
            {"body": "garbled"},
            4,
            " may or may not have taken effect: ",
            "Check the account before retrying.",
        ),
    ],
)
def test_an_error_is_a_message_and_a_hint(
    cli: Cli, served: Emulator, fault: dict[str, Any], status: int, message: str, hint: str | None
) -> None:
    served.faults.add("POST", "*", **fault)
    finished = cli("installed", "create", SPAM_SCORE, TERMS, "--no-check-schema")
    assert finished.status == status
    assert finished.out == ""
    lines = finished.err.splitlines()
    assert lines[0].startswith("error: ")
    assert message in lines[0]
    if hint is None:
        assert len(lines) == 1
    else:
        assert lines[1].startswith("hint: ")
        assert hint in lines[1]


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (
            ["--base-url", "http://127.0.0.1:1"],
            "cannot connect to 127.0.0.1:1",
            "Nothing was sent. Requests go to http://127.0.0.1:1 (from --base-url).",
        ),
        (
            ["--timeout", "0.05"],
            "no response within 0.05 s",
            "Use --timeout to allow more time per attempt.",
        ),
    ],
)
def test_the_hint_of_a_missing_response_names_the_option_to_check(
    cli: Cli, served: Emulator, arguments: list[str], message: str, hint: str
) -> None:
    served.faults.add("GET", "*", delay=5, times=None)
    finished = cli("available", "fetch", SPAM_SCORE, *arguments)
    assert finished.status == 1
    assert message in finished.err
    assert finished.err.endswith(f"hint: {hint}\n")


def test_an_unknown_add_on_has_a_hint_to_the_catalogue(cli: Cli) -> None:
    finished = cli("available", "fetch", NOWHERE.replace("XE", "XB"))
    assert "hint: `marketplace-async available list` shows the catalogue." in finished.err


def test_unreachable_accounts_of_a_file_have_a_hint_to_the_base_url(
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
        "hint: Nothing was sent. Check --base-url or MARKETPLACE_BASE_URL, if set.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
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
            "--region cannot be combined with a base URL (set by MARKETPLACE_BASE_URL)",
        ),
        (
            ["installed", "create", SPAM_SCORE],
            "installing an Add-on requires accepting its terms of service",
        ),
        (["installed", "ensure", SPAM_SCORE, "--unique-name", "x"], "terms of service"),
        (
            ["installed", "create", SPAM_SCORE, TERMS, "--unique-name", " "],
            "unique_name: must not be blank",
        ),
        (["installed", "update", NOWHERE], "nothing to change"),
        (["installed", "delete"], "at least one installed Add-on"),
        (["installed", "delete", NOWHERE, "XE1", "--yes"], "sid: 'XE1' is not the SID of"),
        (["installed", "extensions", "enable", NOWHERE], "at least one extension"),
        (
            ["installed", "extensions", "enable", NOWHERE, "XF1"],
            "sid: 'XF1' is not the SID of an ext",
        ),
        (["installed", "usage", "create", NOWHERE], "at least one billing item"),
        (["listings", "update", SPAM_SCORE], "nothing to change"),
        (["listings", "create"], "--module-info"),
        (
            ["referrals", "create", "AC1"],
            "referral_account_sid: 'AC1' is not the SID of an account",
        ),
    ],
)
def test_invalid_arguments_are_rejected_before_any_request(
    cli: Cli, served: Emulator, arguments: list[str], message: str
) -> None:
    finished = cli(*arguments)
    assert (finished.status, finished.out) == (2, "")
    assert finished.err.startswith("error: ")
    assert message in finished.err.splitlines()[0]
    assert not served.log.matching()


def test_control_characters_in_errors_are_escaped(
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = PermissionDeniedError(
        Request("GET", "/v1/X"), Response(403, {}, b""), 20403, "\x1b[31m\nerror: fake\u202e"
    )
    print_error(explain(error))
    assert capsys.readouterr().err == (
        "error: 403 20403: \\x1b[31m\\nerror: fake\\u202e (GET /v1/X)\n"
    )


def test_a_single_failure_has_no_summary(cli: Cli) -> None:
    finished = cli("installed", "delete", NOWHERE, "--yes")
    assert (finished.status, finished.out) == (1, "")
    assert finished.err.startswith("error: 404 20404: ")
    assert "of 1 failed" not in finished.err


def test_a_server_error_has_a_hint_to_retry(cli: Cli, served: Emulator) -> None:
    served.faults.add("GET", "*", status=500, times=None)
    finished = cli("available", "fetch", SPAM_SCORE)
    assert finished.status == 1
    assert finished.err.endswith("hint: Retry later.\n")


def test_the_hint_of_a_rejected_token_request_names_the_app_and_its_source(
    cli: Cli, served: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWILIO_CLIENT_ID", APP)
    monkeypatch.setenv("TWILIO_CLIENT_SECRET", SECRET)
    served.faults.add("POST", "/v2/token", status=401)
    finished = cli("available", "list")
    assert finished.status == 1
    assert finished.err.startswith("error: 401 20003: ")
    assert (
        f"Credentials: OAuth app {APP}, from TWILIO_CLIENT_ID and TWILIO_CLIENT_SECRET"
        in finished.err
    )


def test_a_failed_token_request_is_an_error(
    cli: Cli, served: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWILIO_CLIENT_ID", APP)
    monkeypatch.setenv("TWILIO_CLIENT_SECRET", SECRET)
    served.faults.add("POST", "/v2/token", drop=True, times=None)
    finished = cli("available", "list")
    assert finished.status == 1
    assert finished.err.startswith("error: no access token: ")
    assert finished.err.endswith("hint: Retry later.\n")


def test_an_unusable_schema_has_a_hint_to_skip_the_check() -> None:
    hint = explain(SchemaError("the configuration schema of XB...: no")).hint
    assert hint == "Use --no-check-schema to leave the check to the service."


def test_an_unexpected_exception_is_raised(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(resolution, "resolve", fail)
    with pytest.raises(ZeroDivisionError):
        cli("available", "list")

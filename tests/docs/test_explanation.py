"""The figures on the pages of the explanation are those of the code."""

import inspect

import pytest
from support.manual import DOCS

from marketplace_async import MarketplaceClient, Retry, Timeout, accounts, bulk, fleet
from marketplace_async._core import adaptive, cursor, limiter, masking, messages, quota
from marketplace_async.fleet._engine import driver

LIMITS = (DOCS / "explanation" / "limits.md").read_text()
RESPONSES = (DOCS / "explanation" / "responses.md").read_text()
THREATS = (DOCS / "explanation" / "threat-model.md").read_text()


def default(function: object, name: str) -> object:
    assert callable(function)
    return inspect.signature(function).parameters[name].default


@pytest.mark.parametrize(
    ("setting", "shown"),
    [
        ("`concurrency`", f"{default(MarketplaceClient, 'concurrency')}"),
        ("its adaptive limit", f"starts at {adaptive._INITIAL}, and learns"),
        ("`timeout`", f"{Timeout().total:g} seconds"),
        ("`Timeout(connect=)`", f"{Timeout().connect:g} seconds"),
        ("`Retry(attempts=)`", f"{Retry().attempts}"),
        ("`Retry(max_elapsed=)`", f"{Retry().max_elapsed:g} seconds"),
        ("`Retry(max_backoff=)`, or a longer `Retry-After`", f"{Retry().max_backoff:g} seconds"),
        ("", f"at most {limiter._MAX_PAUSE:g} seconds"),
        ("quotas", f"{quota._PER_ACCOUNT:g} per account, {quota._PER_ORIGIN:g} per service"),
        ("`limit`", f"{default(bulk.settle, 'limit')}"),
        (
            "`max_response_size`",
            f"{int(str(default(MarketplaceClient, 'max_response_size'))) >> 20} MiB",
        ),
        ("`EmbeddedExecutor(accounts=)`", f"{fleet.EmbeddedExecutor().accounts}"),
        ("`account_timeout`", f"{driver.ACCOUNT_TIMEOUT:g} seconds"),
        ("`approve_timeout`", f"{default(fleet.apply, 'approve_timeout'):,.0f} seconds"),
        ("`from_vault(timeout=)`", f"{default(accounts.from_vault, 'timeout'):g} seconds"),
    ],
)
def test_the_table_of_limits_has_the_default(setting: str, shown: str) -> None:
    assert f"| {setting} | {shown} |".replace("|  |", "| |") in LIMITS


@pytest.mark.parametrize(
    ("page", "sentence"),
    [
        (LIMITS, f"The limit starts at {adaptive._INITIAL} and doubles"),
        (LIMITS, f"at least {adaptive._ACCEPTED_PER_PROBE} accepted requests"),
        (LIMITS, f"twice as long, at most {adaptive._LAST_PROBE:g} seconds"),
        (LIMITS, f"sends nothing for {limiter._MEMORY:g} seconds"),
        (RESPONSES, f"longer than {cursor._MAX_LINK_LENGTH:,} characters"),
        (RESPONSES, f"follow {cursor._MAX_EMPTY_PAGES} empty pages"),
        (RESPONSES, f"({int(str(default(MarketplaceClient, 'max_response_size'))) >> 20} MiB)"),
        (THREATS, f"fewer than {masking._SHORTEST} characters"),
        (THREATS, f"an error keeps {messages.MAX_ERROR_BODY >> 10} kB"),
    ],
)
def test_a_figure_in_the_text_is_that_of_the_code(page: str, sentence: str) -> None:
    assert sentence in page


def test_the_shares_in_the_text_are_those_of_the_code() -> None:
    assert adaptive._FIRST_PROBE == 0.5
    assert "half a second" in LIMITS
    assert limiter.Limiter(64)._share == 64 - 64 / 8
    assert "the last eighth" in LIMITS
    assert limiter._PAUSE_JITTER == 0.1
    assert "up to a tenth" in LIMITS
    assert quota._REFUND == 0.2
    assert "a fifth of one more" in LIMITS

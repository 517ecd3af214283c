"""The messages to workers contain what the job needs, and no secrets."""

import functools
from pathlib import Path
from typing import Any

import pytest
from support.fleet import DESIRED, PARENT, Fleet
from support.fleet_workers import connect, find_in_the_vault, sids_of_the_vault
from support.local_engine import LocalEngine

from marketplace_async import AccountToken, MarketplaceClient, Retry, Timeout, fleet
from marketplace_async.fleet import JobEndedError, JobError, PlanKey
from marketplace_async.fleet._executors import portable
from marketplace_async.testing import account

# Secret values in the file would be sent to the workers.
WRITTEN = DESIRED.replace('"very-secret"', '{ env = "TEST_API_TOKEN" }')
KEY = "a-plan-key-that-is-hard-to-guess"


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_API_TOKEN", "very-secret")
    monkeypatch.setenv("MARKETPLACE_PLAN_KEY", KEY)


async def test_no_secret_is_sent(shops: Fleet, tmp_path: Path) -> None:
    engine = LocalEngine()
    desired = fleet.parse(WRITTEN)
    secrets = ["very-secret", KEY, account().auth_token.reveal()]
    secrets += [token for _, token in shops.shops]
    few = fleet.Part(limit=5)
    key = PlanKey.from_env()
    saved = tmp_path / "plan.jsonl"
    report = await fleet.plan(shops.source, desired, out=saved, key=key, part=few, executor=engine)
    assert report.steps > 0
    applied = await fleet.apply(
        *(shops.source, desired),
        journal=tmp_path / "journal",
        approve=lambda _: True,
        plan=saved,
        key=key,
        executor=engine,
    )
    assert applied.writes == {"done": report.steps}
    applied = await fleet.apply(
        *(shops.source, desired),
        journal=tmp_path / "journal",
        approve=lambda _: True,
        part=fleet.Part(limit=8),
        executor=engine,
    )
    assert applied.writes == {"done": applied.plan.steps}
    assert applied.changed == 3
    inventory = await fleet.inventory(
        shops.source, tmp_path / "y.jsonl", executor=engine, secret=["api_token"]
    )
    assert inventory.records > 40
    sent = b"".join(engine.messages)
    assert len(sent) > 10_000
    for secret in secrets:
        assert secret.encode() not in sent


async def test_a_secret_in_the_file_is_an_error_before_anything_is_sent(
    shops: Fleet, tmp_path: Path
) -> None:
    engine = LocalEngine()
    with pytest.raises(JobEndedError, match="would be sent to workers") as caught:
        await fleet.plan(shops.source, fleet.parse(DESIRED), executor=engine)
    assert "line 16: add_ons[1].configuration.api_token" in str(caught.value)
    assert "very-secret" not in str(caught.value)
    assert engine.messages == []


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("TEST_API_TOKEN", "another", "environment variables .* have different values"),
        ("TEST_API_TOKEN", "", "environment variable TEST_API_TOKEN is not set"),
        ("MARKETPLACE_PLAN_KEY", "another-key-of-some-length", "plan key .* differs from that"),
        ("MARKETPLACE_PLAN_KEY", "", "MARKETPLACE_PLAN_KEY is not set"),
    ],
)
async def test_a_worker_with_other_values_is_unfit(
    shops: Fleet, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, reason: str
) -> None:
    desired, key = fleet.parse(WRITTEN), PlanKey.from_env()
    monkeypatch.setenv(variable, value)
    with pytest.raises(JobError, match=f"no worker can do this job: worker 0: .*{reason}"):
        await fleet.plan(shops.source, desired, key=key, executor=LocalEngine(1))


async def test_a_worker_with_the_credentials_of_another_account_is_unfit(
    shops: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sid, token = shops.shops[0]
    other = MarketplaceClient(AccountToken(sid, token), base_url=shops.emulator.url)
    monkeypatch.setattr(portable, "_found", lambda _: lambda: other)
    with pytest.raises(JobError, match=f"parent is {sid} for the worker, and {PARENT} for the job"):
        await fleet.inventory(shops.source, tmp_path / "x.jsonl", executor=LocalEngine(1))


def test_sources_come_back_without_credentials(tmp_path: Path) -> None:
    source: Any = fleet.Subaccounts(functools.partial(connect, "http://127.0.0.1:1", timeout=3))
    found = portable.source_of(portable.describe(source))
    assert isinstance(found, fleet.Subaccounts)
    assert found.connect().base_url == "http://127.0.0.1:1"
    file = tmp_path / "accounts.csv"
    options: Any = {
        "base_url": "http://127.0.0.1:1",
        "timeout": Timeout(total=3, connect=1),
        "retry": Retry(attempts=2),
        "proxy": "http://x",
    }
    source = fleet.AccountsFile(file, options, format="csv")
    found = portable.source_of(portable.describe(source))
    assert isinstance(found, fleet.AccountsFile)
    del options["proxy"]  # may contain a password, and is a setting of the machine
    assert found == source
    assert found.options == options
    source = fleet.Vault(sids_of_the_vault, find_in_the_vault, timeout=5)
    found = portable.source_of(portable.describe(source))
    assert isinstance(found, fleet.Vault)
    assert found.timeout == 5
    assert list(found.sids()) == sids_of_the_vault()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (fleet.Subaccounts(lambda: MarketplaceClient(account())), "must be a function of a module"),
        (
            fleet.Subaccounts(functools.partial(MarketplaceClient, account())),
            "bound to plain values, without credentials",
        ),
        (fleet.AccountsFile(Path("-")), "in the memory of this process"),
        (fleet.Vault(sids_of_the_vault, find_in_the_vault, {"headers": {"x": "y"}}), "headers"),
        (object(), "need Subaccounts, AccountsFile or Vault, got object"),
    ],
)
def test_a_source_that_cannot_be_sent_is_an_error(source: Any, message: str) -> None:
    with pytest.raises(JobError, match=message):
        portable.describe(source)

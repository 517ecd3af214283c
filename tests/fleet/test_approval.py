"""An approval only covers what the plan saw and what it will write."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from support.faults import until_injected
from support.fleet import SPAM_SCORE, TRANSCRIPTION

from marketplace_async import AccountToken, MarketplaceClient, fleet
from marketplace_async.emulator import Emulator
from marketplace_async.fleet import PlanKey
from marketplace_async.testing import account

Sabotage: TypeAlias = Callable[["Shop"], Awaitable[Any]]

SID = account(7).account_sid
URL, OTHER_URL = "https://one.example.com", "https://other.example.com"


class Shop:
    """One account with one Add-on, and the changes that a colleague can make to it."""

    def __init__(self, client: MarketplaceClient, source: fleet.Source) -> None:
        self.add_ons = client.installed_add_ons
        self.source = source

    async def install(self, add_on: str, name: str = "it", **configuration: Any) -> None:
        await self.add_ons.create(
            available_add_on_sid=add_on,
            accept_terms_of_service=True,
            unique_name=name,
            configuration=configuration,
        )

    async def sid(self, name: str = "it") -> str:
        installed = await self.add_ons.list().collect()
        return next(one.sid for one in installed if one.unique_name == name)

    async def remove(self) -> None:
        await self.add_ons.delete(await self.sid())

    async def configure(self, name: str = "it", **configuration: Any) -> None:
        await self.add_ons.update(await self.sid(name), configuration=configuration)

    async def replace(self, add_on: str, **configuration: Any) -> None:
        await self.remove()
        await self.install(add_on, **configuration)

    async def enable(self) -> None:
        extensions = self.add_ons.extensions(await self.sid())
        async for one in extensions.list():
            await extensions.update(one.sid, enabled=True)

    async def state(self) -> list[Any]:
        return [
            (
                one.sid,
                one.configuration,
                [(e.sid, e.enabled) async for e in self.add_ons.extensions(one.sid).list()],
            )
            async for one in self.add_ons.list()
        ]

    async def apply(
        self, folder: Path, desired: str, meanwhile: Sabotage, **options: Any
    ) -> tuple[fleet.ApplyReport, bool]:
        """Apply, with a change between plan and approval. Return whether apply changed nothing."""
        before: list[Any] = []

        async def approve(plan: fleet.PlanReport) -> bool:
            await meanwhile(self)
            before.extend(await self.state())
            return True

        report = await fleet.apply(
            self.source,
            fleet.parse(desired),
            journal=folder / "journal",
            approve=approve,
            **options,
        )
        return report, await self.state() == before


@pytest.fixture
async def shop(marketplace_emulator: Emulator, tmp_path: Path) -> AsyncIterator[Shop]:
    file = tmp_path / "accounts.csv"
    file.touch(mode=0o600)
    file.write_text(f"account_sid,auth_token\n{SID},x\n")
    url = marketplace_emulator.url
    async with MarketplaceClient(AccountToken(SID, "x"), base_url=url) as client:
        yield Shop(client, fleet.AccountsFile(file, {"base_url": url}))


def desired(add_on: str | None, *, extensions: str = "", **configuration: Any) -> str:
    values = ", ".join(f"{key} = {json.dumps(value)}" for key, value in configuration.items())
    text = 'secret = ["token"]\n' if "token" in configuration else ""
    text += '[[add_ons]]\nunique_name = "it"\naccounts = "all"\n'
    if add_on is None:
        return text + 'state = "absent"\n'
    text += f'available_add_on_sid = "{add_on}"\naccept_terms_of_service = true\n'
    text += f"configuration = {{ {values} }}\n" if configuration else ""
    return text + extensions


VOICE = "extensions = { voice-incoming = true }\n"
ABSENT = desired(None)
UPDATE = desired(TRANSCRIPTION, callback_url=URL, callback_method="POST")
BEFORE = {"callback_url": URL, "callback_method": "GET"}
OTHER = {"callback_url": OTHER_URL, "callback_method": "GET"}


@pytest.mark.parametrize(
    ("installed", "wanted", "meanwhile"),
    [
        (BEFORE, ABSENT, lambda shop: shop.replace(SPAM_SCORE)),
        (BEFORE, ABSENT, lambda shop: shop.replace(TRANSCRIPTION, **BEFORE)),
        (BEFORE, ABSENT, lambda shop: shop.configure(**OTHER)),
        (BEFORE, UPDATE, lambda shop: shop.configure(**OTHER)),
        (BEFORE, UPDATE, lambda shop: shop.configure(**BEFORE, token="theirs")),
        (BEFORE, UPDATE, lambda shop: shop.replace(TRANSCRIPTION, **BEFORE)),
        (BEFORE, UPDATE, lambda shop: shop.replace(SPAM_SCORE)),
        (BEFORE, UPDATE, lambda shop: shop.remove()),
        (None, UPDATE, lambda shop: shop.install(SPAM_SCORE)),
        (None, UPDATE, lambda shop: shop.install(TRANSCRIPTION, **OTHER)),
        (None, desired(SPAM_SCORE, extensions=VOICE), lambda shop: shop.install(TRANSCRIPTION)),
    ],
)
async def test_what_changed_since_the_plan_is_left_unchanged_and_reported(
    shop: Shop,
    tmp_path: Path,
    installed: dict[str, Any] | None,
    wanted: str,
    meanwhile: Sabotage,
) -> None:
    if installed is not None:
        await shop.install(TRANSCRIPTION, **installed)
    report, is_unchanged = await shop.apply(tmp_path, wanted, meanwhile)
    assert is_unchanged
    assert set(report.writes) == {"skipped"}
    assert (report.counts.skipped, report.counts.accounts, report.changed) == (1, 1, 0)
    (failure,) = report.failures.first
    assert "changed since the plan" in failure.message


@pytest.mark.parametrize(
    ("installed", "wanted", "meanwhile", "outcomes"),
    [
        (BEFORE, ABSENT, lambda shop: shop.remove(), {"unchanged": 1}),
        (
            BEFORE,
            UPDATE,
            lambda shop: shop.configure(callback_url=URL, callback_method="POST"),
            {"unchanged": 1},
        ),
        (
            None,
            desired(SPAM_SCORE, extensions=VOICE),
            lambda shop: shop.install(SPAM_SCORE),
            {"unchanged": 1, "done": 1},
        ),
    ],
)
async def test_what_is_as_desired_by_now_is_not_written_again(
    shop: Shop,
    tmp_path: Path,
    installed: dict[str, Any] | None,
    wanted: str,
    meanwhile: Sabotage,
    outcomes: dict[str, int],
) -> None:
    if installed is not None:
        await shop.install(TRANSCRIPTION, **installed)
    report, _ = await shop.apply(tmp_path, wanted, meanwhile)
    assert report.writes == outcomes
    assert (report.counts.done, report.failures.count) == (1, 0)


async def test_an_extension_of_another_installation_is_not_enabled(
    shop: Shop, tmp_path: Path
) -> None:
    await shop.install(SPAM_SCORE)
    wanted = desired(SPAM_SCORE, extensions=VOICE)
    report, is_unchanged = await shop.apply(tmp_path, wanted, lambda shop: shop.replace(SPAM_SCORE))
    assert is_unchanged
    assert report.writes == {"skipped": 1}


async def test_an_extension_that_a_colleague_enabled_is_left_enabled(
    shop: Shop, tmp_path: Path
) -> None:
    await shop.install(SPAM_SCORE)
    wanted = desired(SPAM_SCORE, extensions=VOICE)
    report, is_unchanged = await shop.apply(tmp_path, wanted, lambda shop: shop.enable())
    assert is_unchanged
    assert report.writes == {"unchanged": 1}


@pytest.mark.parametrize("wanted", ["absent", "present"])
async def test_an_installation_is_read_again_just_before_a_later_step(
    shop: Shop, tmp_path: Path, marketplace_emulator: Emulator, wanted: str
) -> None:
    await shop.install(SPAM_SCORE, "old")
    await shop.install(TRANSCRIPTION, **BEFORE)
    slow = marketplace_emulator.faults.add("DELETE", "/v1/InstalledAddOns/*", delay=0.5)

    async def change_during_the_first_step() -> None:
        await until_injected(slow)
        await shop.configure(**OTHER)

    async def nothing(shop: Shop) -> None:
        colleague.append(asyncio.create_task(change_during_the_first_step()))

    colleague: list[asyncio.Task[None]] = []
    text = '[[add_ons]]\nunique_name = "old"\nstate = "absent"\naccounts = "all"\n'
    text += ABSENT if wanted == "absent" else UPDATE
    report, _ = await shop.apply(tmp_path, text, nothing)
    await colleague[0]
    assert report.writes == {"done": 1, "skipped": 1}
    ((_, configuration, _),) = await shop.state()
    assert configuration == OTHER


@pytest.mark.parametrize("wanted", [ABSENT, UPDATE], ids=["removal", "update"])
async def test_a_write_that_was_throttled_is_compared_again(
    shop: Shop, tmp_path: Path, marketplace_emulator: Emulator, wanted: str
) -> None:
    await shop.install(TRANSCRIPTION, **BEFORE)
    method = "DELETE" if wanted == ABSENT else "POST"
    throttled = marketplace_emulator.faults.add(
        method, "/v1/InstalledAddOns/*", status=429, retry_after=1
    )

    async def change_during_the_pause() -> None:
        await until_injected(throttled)
        await shop.configure(**OTHER)

    async def nothing(shop: Shop) -> None:
        colleague.append(asyncio.create_task(change_during_the_pause()))

    colleague: list[asyncio.Task[None]] = []
    report, _ = await shop.apply(tmp_path, wanted, nothing)
    await colleague[0]
    assert report.writes == {"skipped": 1}
    ((_, configuration, _),) = await shop.state()
    assert configuration == OTHER


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("wanted", [ABSENT, UPDATE], ids=["removal", "update"])
async def test_a_write_whose_response_was_lost_is_looked_up_and_completed(
    shop: Shop, tmp_path: Path, marketplace_emulator: Emulator, wanted: str, when: Any
) -> None:
    await shop.install(TRANSCRIPTION, **BEFORE)
    method = "DELETE" if wanted == ABSENT else "POST"
    marketplace_emulator.faults.add(method, "/v1/InstalledAddOns/*", drop=True, when=when)

    async def nothing(shop: Shop) -> None: ...

    report, _ = await shop.apply(tmp_path, wanted, nothing)
    assert report.writes == {"done": 1}
    assert report.failures.count == 0


async def test_a_secret_under_another_key_is_masked_in_plans_and_notes(
    shop: Shop, tmp_path: Path
) -> None:
    await shop.install(TRANSCRIPTION, callback_url=URL, callback_method="GET", copy="very-secret")
    wanted = desired(TRANSCRIPTION, callback_url=URL, token="very-secret")
    file = tmp_path / "plan.jsonl"
    await fleet.plan(shop.source, fleet.parse(wanted), to=file)
    assert "very-secret" not in file.read_text()
    assert '"path":"copy","before":' in file.read_text()


async def test_no_digest_of_a_secret_can_be_computed_without_the_key(
    shop: Shop, tmp_path: Path
) -> None:
    async def planned(token: str, key: PlanKey | None) -> dict[str, Any]:
        file = tmp_path / "plan.jsonl"
        state = fleet.parse(desired(TRANSCRIPTION, callback_url=URL, token=token))
        await fleet.plan(shop.source, state, to=file, key=key, overwrite=True)
        (step,) = json.loads(file.read_text())["steps"]
        result: dict[str, Any] = step
        return result

    key = PlanKey(b"k" * 32)
    first, same, other = [await planned(token, key) for token in ("aaa", "aaa", "bbb")]
    assert first == same
    assert first["after"] != other["after"]
    assert (await planned("aaa", PlanKey(b"x" * 32)))["after"] != first["after"]
    # Without a key, the digest does not depend on the secret.
    assert await planned("aaa", None) == await planned("bbb", None)
    assert "aaa" not in (tmp_path / "plan.jsonl").read_text()

"""A day of an operator with 500 accounts, from the command line."""

import asyncio
import json
from pathlib import Path
from typing import Any

import attrs
import pytest
from support.fleet import PARENT, SPAM_SCORE, TRANSCRIPTION, VOICEBASE
from support.shops import Shops, environment

from marketplace_async import AccountToken, MarketplaceClient
from marketplace_async.emulator import Emulator

# What the operator adds to the imported file: an Add-on for 111 shops, and one that has to go.
ADDED = f"""
[[add_ons]]
unique_name = "transcription"
available_add_on_sid = "{TRANSCRIPTION}"
accept_terms_of_service = true
previous_names = ["renamed-by-hand"]
configuration = {{ callback_url = "https://example.com/text" }}
[add_ons.accounts]
friendly_names = ["Shop 1*"]

[[add_ons]]
unique_name = "experiment"
accounts = "all"
state = "absent"
"""


@attrs.frozen
class Company:
    """A parent account and 499 shops, each with one Add-on; spam-score is on every second one."""

    emulator: Emulator
    shops: list[tuple[str, str]]

    async def changed_by_hand(self) -> None:
        """Change five shops in five ways, as people do in the Console."""
        async with MarketplaceClient(
            AccountToken(PARENT, "made-up"), base_url=self.emulator.url
        ) as client:
            changes = ("update", "delete", "disable", "rename", "install")
            for (sid, token), change in zip(self.shops[9:14], changes, strict=True):
                add_ons = client.with_credentials(AccountToken(sid, token)).installed_add_ons
                installed = {str(one.unique_name): one.sid async for one in add_ons.list()}
                match change:
                    case "update":
                        url = {"callback_url": "https://example.com/by-hand"}
                        await add_ons.update(installed["transcription"], configuration=url)
                    case "delete":
                        await add_ons.delete(installed["transcription"])
                    case "disable":
                        self.emulator.enable(
                            installed["spam-score"], "voice-incoming", enabled=False
                        )
                    case "rename":
                        await add_ons.update(
                            installed["transcription"], unique_name="renamed-by-hand"
                        )
                    case _:
                        self.emulator.install(sid, SPAM_SCORE, unique_name="experiment")


@pytest.fixture
def company(served: Emulator) -> Company:
    shops = served.add_subaccounts(PARENT, 499, friendly_name="Shop {number}")
    for number, (sid, _) in enumerate(shops):
        served.install(sid, VOICEBASE, {"callback_url": "https://example.com/voice"})
        if number % 2:
            (installed,) = served.install(sid, SPAM_SCORE, unique_name="spam-score")
            served.enable(installed, "voice-incoming")
    return Company(served, shops)


def records(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_day_of_500_accounts(company: Company, tmp_path: Path) -> None:
    sids = [PARENT, *(sid for sid, _ in company.shops)]
    env = environment(company.emulator, tmp_path)
    commands = Shops(company.emulator, sids, env, tmp_path / "fleet.toml")

    def done(*words: str, status: int = 0) -> str:
        finished = commands.run(*words)
        assert finished.returncode == status, finished.stderr
        return finished.stdout + finished.stderr

    fleet = ("fleet.toml", "--subaccounts")
    # Import what exists. A plan of it changes nothing.
    done("inventory", "--subaccounts", "--extensions", "--to", "morning.jsonl")
    done("desired", "import", "morning.jsonl", "--to", "fleet.toml")
    assert "nothing to do on 500 accounts" in done("plan", *fleet)

    # Change the file, save a plan and review it.
    file = tmp_path / "fleet.toml"
    file.write_text(file.read_text().replace("/voice", "/voice/2") + ADDED)
    review = done("plan", *fleet, "--out", "plan.jsonl", "-o", "table")
    assert "610 steps to do on 499 of 500 accounts: 111 to install, 499 to update" in review
    assert "~ update voicebase_transcription on 499 accounts" in review

    # A canary of five accounts, and then all.
    apply = ("apply", "--plan", "plan.jsonl", "--subaccounts", "--yes")
    canary = done(*apply, "--limit", "5")
    assert "on 5 of 5 accounts: " in canary
    assert "5 to update (left out: 495 not selected)" in canary
    assert "done on 5 accounts (left out: 495 not selected)" in canary
    assert "done on 494 accounts" in done(*apply)

    # People change five shops by hand. The plan finds it, and apply puts it right.
    asyncio.run(company.changed_by_hand())
    drift = done("plan", *fleet, "--detailed-exitcode", status=5)
    assert (
        "5 steps to do on 5 of 500 accounts: "
        "1 to remove, 1 to rename, 1 to install, 1 to update, 1 to enable; accounts: 495 unchanged"
    ) in drift
    repaired = done("apply", *fleet, "--yes", "--max-removals", "1")
    assert "removes 1 installed Add-on:" in repaired
    assert "5 steps done on 5 accounts" in repaired

    # One of the changes was meant: undo the repair where that is possible.
    undo = done("journal", "undo", "fleet.journal", "--to", "undo.toml", status=3)
    assert "marketplace-async installed delete" in undo
    again = done("plan", "undo.toml", "--subaccounts")
    assert "1 to update" in again
    assert "1 to disable" in again
    assert "1 to rename" in again
    assert "3 steps done on 3 accounts" in done("apply", "undo.toml", "--subaccounts", "--yes")

    # What has changed since the morning?
    done("inventory", "--subaccounts", "--extensions", "--to", "evening.jsonl")
    difference = done("inventory", "diff", "morning.jsonl", "evening.jsonl")
    assert "note: 111 installed, 500 changed, 248 unchanged" in difference
    assert len(records(tmp_path / "evening.jsonl")) == 499 + 249 + 111

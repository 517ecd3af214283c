"""An emulator with many shops in a thread of its own, and the commands run on it."""

import json
import os
import subprocess
from collections import Counter
from pathlib import Path

import attrs

from marketplace_async.emulator import Emulator
from support.fleet import PARENT, SPAM_SCORE_FOR_ALL, TRANSCRIPTION, VOICEBASE
from support.terminal import PROGRAM

SHOPS = 60

DESIRED = f"""
secret = ["api_token"]
{SPAM_SCORE_FOR_ALL}
[[add_ons]]
unique_name = "transcription"
available_add_on_sid = "{TRANSCRIPTION}"
accept_terms_of_service = true
accounts = {{ friendly_names = ["Shop *"] }}
configuration = {{ callback_method = "POST", api_token = {{ env = "API_TOKEN" }} }}

[[add_ons.overrides]]
accounts = {{ friendly_names = ["Shop 1*"] }}
configuration = {{ callback_method = "GET" }}

[[add_ons]]
unique_name = "voicebase_transcription"
accounts = {{ except_friendly_names = ["Shop 2*"] }}
state = "absent"
"""
TOKEN = "very-secret-token"


@attrs.frozen
class Shops:
    """An emulator with a parent account and 60 shops, each with one installed Add-on."""

    emulator: Emulator
    sids: list[str]
    env: dict[str, str]
    desired: Path

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*PROGRAM, *arguments],
            env=self.env,
            cwd=self.desired.parent,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )

    def installed(self) -> Counter[str]:
        """Return the number of accounts that have each unique name."""
        found = self.run("inventory", "--subaccounts")
        assert found.returncode == 0, found.stderr
        records = [json.loads(line) for line in found.stdout.splitlines()]
        names = [(record["account_sid"], record["unique_name"]) for record in records]
        assert len(names) == len(set(names)), "an account has a name twice"
        return Counter(record["unique_name"] for record in records)

    def creates(self) -> Counter[tuple[str | None, bytes]]:
        """Return the number of successful creates, by account and body."""
        return Counter(
            (entry.account_sid, entry.body)
            for entry in self.emulator.log
            if (entry.method, entry.path, entry.status) == ("POST", "/v1/InstalledAddOns", 201)
        )


def environment(emulator: Emulator, folder: Path) -> dict[str, str]:
    """Return the environment variables of commands."""
    inherited = {name: value for name, value in os.environ.items() if "TWILIO_" not in name}
    return {
        **inherited,
        "MARKETPLACE_BASE_URL": emulator.url,
        "MARKETPLACE_PROFILES": str(folder / "profiles.toml"),
        "TWILIO_ACCOUNT_SID": PARENT,
        "TWILIO_AUTH_TOKEN": "made-up",
        "API_TOKEN": TOKEN,
    }


def shops_of(emulator: Emulator, folder: Path) -> Shops:
    accounts = emulator.add_subaccounts(PARENT, SHOPS, friendly_name="Shop {number}")
    for sid, _ in accounts:
        emulator.install(sid, VOICEBASE, {"callback_url": "https://example.com"})
    desired = folder / "fleet.toml"
    desired.write_text(DESIRED)
    env = environment(emulator, folder)
    return Shops(emulator, [PARENT, *(sid for sid, _ in accounts)], env, desired)

"""`journal show` and `journal undo` at the command line."""

import json

from support.fleet import SPAM_SCORE, VOICEBASE
from support.shops import Shops
from support.terminal import PROGRAM, on_a_terminal

UPDATE = f"""
[[add_ons]]
unique_name = "voicebase_transcription"
available_add_on_sid = "{VOICEBASE}"
accept_terms_of_service = true
accounts = {{ friendly_names = ["Shop 1"] }}
configuration = {{ callback_url = "https://example.com/2" }}

[[add_ons]]
unique_name = "spam-score"
available_add_on_sid = "{SPAM_SCORE}"
accept_terms_of_service = true
accounts = {{ friendly_names = ["Shop 1"] }}
extensions = {{ voice-incoming = true }}
"""


def test_a_run_is_shown_and_undone(shops: Shops) -> None:
    folder = shops.desired.parent
    shops.desired.write_text(UPDATE)
    done = shops.run("apply", "fleet.toml", "--subaccounts", "--yes")
    assert done.returncode == 0, done.stderr
    shown = shops.run("journal", "show", "fleet.journal", "-o", "jsonl")
    assert shown.returncode == 0, shown.stderr
    write, installed, enabled = map(json.loads, shown.stdout.splitlines())
    assert (write["action"], enabled["action"]) == ("update", "enable")
    assert (installed["action"], installed["before"], installed["after"]) == ("install", None, {})
    assert write["outcome"] == "done"
    assert write["before"] == {"callback_url": "https://example.com"}
    assert write["after"] == {"callback_url": "https://example.com/2"}
    assert write["changes"] == [
        {
            "path": "callback_url",
            "before": "https://example.com",
            "after": "https://example.com/2",
        }
    ]
    assert "account AC" in write["credentials"]
    assert "made-up" not in shown.stdout
    table = on_a_terminal(
        [*PROGRAM, "journal", "show", str(folder / "fleet.journal")], env=shops.env, columns=140
    )
    assert "update" in table.screen
    assert "voicebase_transcription" in table.screen

    undo = shops.run("journal", "undo", "fleet.journal", "--to", "undo.toml")
    assert (undo.returncode, undo.stdout) == (3, ""), undo.stderr
    assert f"marketplace-async installed delete {installed['installed_add_on_sid']}" in undo.stderr
    assert undo.stderr.endswith(f"1 change of run {write['run'][:8]} to revert in undo.toml\n")
    assert (folder / "undo.toml").stat().st_mode & 0o077 == 0
    again = shops.run("journal", "undo", "fleet.journal", "--to", "undo.toml")
    assert again.returncode == 1
    assert "undo.toml" in again.stderr
    applied = shops.run("apply", "undo.toml", "--subaccounts", "--yes")
    assert applied.returncode == 0, applied.stderr
    inventory = shops.run("inventory", "--subaccounts").stdout
    assert inventory.count('"configuration":{"callback_url":"https://example.com"}') == 60


def test_a_missing_journal_is_an_error(shops: Shops) -> None:
    missing = shops.run("journal", "show", "missing.journal")
    assert missing.returncode == 2
    assert "missing.journal" in missing.stderr
    assert not (shops.desired.parent / "missing.journal").exists()

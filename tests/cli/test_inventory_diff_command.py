"""`inventory diff`, and the order of inventories, at the command line."""

import json

from support.fleet import SPAM_SCORE
from support.shops import Shops
from support.terminal import PROGRAM, on_a_terminal


def test_the_difference_of_two_inventories_is_shown(shops: Shops) -> None:
    for name in ("a.jsonl", "b.csv"):
        done = shops.run("inventory", "--subaccounts", "--to", name)
        assert done.returncode == 0, done.stderr
        if name == "a.jsonl":
            shops.emulator.install(shops.sids[1], SPAM_SCORE, unique_name="spam-score")
    command = ["inventory", "diff", "a.jsonl", "b.csv"]
    shown = shops.run(*command, "-o", "table")
    assert shown.stderr == "note: 1 installed, 60 unchanged\n"
    assert shown.stdout.startswith(f"+ installed spam-score on {shops.sids[1]} (Shop 1) XE")
    assert shown.returncode == 0
    (change,) = [
        json.loads(line) for line in shops.run(*command, "-o", "jsonl").stdout.splitlines()
    ]
    assert (change["action"], change["changes"]) == ("installed", [])
    assert shops.run(*command, "--detailed-exitcode").returncode == 5
    assert shops.run("inventory", "diff", "a.jsonl", "a.jsonl", "--detailed-exitcode").stdout == ""


def test_changes_are_json_values_not_text(shops: Shops) -> None:
    folder = shops.desired.parent
    assert shops.run("inventory", "--subaccounts", "--to", "a.jsonl").returncode == 0
    text = (folder / "a.jsonl").read_text()
    (folder / "b.jsonl").write_text(text.replace("https://example.com", "https://example.org", 1))
    done = shops.run("inventory", "diff", "a.jsonl", "b.jsonl", "-o", "json")
    ((change,),) = [one["changes"] for one in json.loads(done.stdout)]
    assert change == {
        "path": "configuration.callback_url",
        "before": "https://example.com",
        "after": "https://example.org",
    }
    screen = on_a_terminal(
        [*PROGRAM, "inventory", "diff", str(folder / "a.jsonl"), str(folder / "b.jsonl")],
        env=shops.env,
        columns=140,
    ).screen
    assert '~ configuration.callback_url = "https://example.com" -> "https://example.org"' in screen


def test_standard_output_cannot_be_sorted(shops: Shops) -> None:
    done = shops.run("inventory", "--subaccounts", "--sort")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--sort requires --to FILE" in done.stderr

"""The options that limit a plan or an apply to a part of the fleet."""

import pytest
from support.shops import Shops


def test_a_part_is_planned_and_what_it_leaves_out_is_named(shops: Shops) -> None:
    select = ("--friendly-name", "Shop 1*", "--only", "install,enable", "--add-on", "spam-score")
    plan = shops.run("plan", "fleet.toml", "--subaccounts", *select, "--limit", "3")
    assert plan.returncode == 0, plan.stderr
    assert plan.stderr == (
        "note: 6 steps to do on 3 of 3 accounts: 3 to install, 3 to enable; "
        "steps left out: 3 to install, 3 to remove (left out: 58 not selected)\n"
    )


def test_removals_are_named_before_the_question(shops: Shops) -> None:
    only = ("--only", "remove", "--max-failures", "0")
    done = shops.run("apply", "fleet.toml", "--subaccounts", "--yes", *only)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    first = lines.index("- removes 49 installed Add-ons:")
    assert lines[first + 1].endswith(")")
    assert ": voicebase_transcription (XE" in lines[first + 1]
    assert lines[first + 21] == "    and 29 more"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--account", "AC1"), "--account: 'AC1' is not the SID of an account"),
        (("--add-on", "spam"), "--add-on: no entry of the desired state has the unique name"),
        (("--add-on", "spam"), "it has: spam-score, transcription, voicebase_transcription"),
        (("--limit", "0"), "--limit: must be a positive integer, got 0"),
        (("--only", "install,delete"), "--only: expected some of install, "),
        (("--max-failures", "-1"), "--max-failures: must be 0 or more, got -1"),
    ],
)
@pytest.mark.parametrize("command", ["plan", "apply"])
def test_wrong_values_are_rejected_before_any_request(
    shops: Shops, command: str, options: tuple[str, ...], message: str
) -> None:
    yes = ("--yes",) if command == "apply" else ()
    done = shops.run(command, "fleet.toml", "--subaccounts", *options, *yes)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert len(shops.emulator.log) == 0

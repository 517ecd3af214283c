"""`plan --out` and `apply --plan`."""

import json

from support.shops import TOKEN, Shops


def test_a_plan_is_saved_reviewed_and_applied(shops: Shops) -> None:
    folder = shops.desired.parent
    made = shops.run("plan", "fleet.toml", "--subaccounts", "--out", "plan.jsonl")
    assert made.returncode == 0
    assert (
        "note: saved in plan.jsonl; apply it with: marketplace-async apply --plan plan.jsonl"
        in made.stderr
    )
    assert TOKEN not in (folder / "plan.jsonl").read_text()
    header = json.loads((folder / "plan.jsonl").read_text().splitlines()[0])
    assert (header["secret_values"], header["desired_files"]) == ("compared", ["fleet.toml"])

    changed = folder / "changed.toml"
    changed.write_text(shops.desired.read_text().replace('"GET"', '"POST"'))
    wrong = shops.run("apply", "changed.toml", "--plan", "plan.jsonl", "--subaccounts", "--yes")
    assert wrong.returncode == 1
    assert "the desired state has changed since" in wrong.stderr

    apply = ("apply", "--plan", "plan.jsonl", "--subaccounts", "--yes")
    stopped = shops.run(*apply, "--max-removals", "10")
    assert stopped.returncode == 1
    assert "the plan removes 49 installed Add-ons, and at most 10 are allowed" in stopped.stderr
    applied = shops.run(*apply)
    assert applied.returncode == 0, applied.stderr
    assert applied.stdout.startswith(made.stdout[:40])
    after = shops.run("plan", "fleet.toml", "--subaccounts")
    assert after.stderr == "note: nothing to do on 61 accounts\n"


def test_without_a_plan_key_changed_secrets_must_be_accepted(shops: Shops) -> None:
    # The key can be created nowhere.
    (shops.desired.parent / "config" / "plan.key").mkdir(parents=True)
    shops.env["MARKETPLACE_PROFILES"] = str(shops.desired.parent / "config" / "profiles.toml")
    made = shops.run("plan", "fleet.toml", "--subaccounts", "--out", "plan.jsonl")
    assert "warning: secret values are not compared: there is no plan key" in made.stderr
    apply = ("apply", "--plan", "plan.jsonl", "--subaccounts", "--yes")
    refused = shops.run(*apply)
    assert refused.returncode == 1
    assert "--accept-secret-changes" in refused.stderr
    applied = shops.run(*apply, "--accept-secret-changes")
    assert applied.returncode == 0
    assert "warning: secret values are not compared" in applied.stderr


def test_options_of_saved_plans_that_do_not_go_together_are_rejected(shops: Shops) -> None:
    for arguments, message in (
        (("plan", "fleet.toml", "--out", "a", "--to", "b"), "--out cannot be combined"),
        (("plan", "fleet.toml", "--out=-"), "--out -: expected the path of a regular file"),
        (("apply", "fleet.toml", "--max-removals", "-1"), "--max-removals: must be 0 or more"),
        (("apply", "--yes"), "pass the desired state, a TOML file, or --plan FILE"),
        (("apply", "fleet.toml", "--accept-secret-changes"), "requires --plan FILE"),
        (("apply", "--plan", "fleet.toml"), "fleet.toml is not a saved plan"),
        (("apply", "--plan", "missing.jsonl"), "missing.jsonl"),
    ):
        done = shops.run(*arguments, "--subaccounts")
        assert done.returncode in (1, 2), arguments
        assert message in done.stderr

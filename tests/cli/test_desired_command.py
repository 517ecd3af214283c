"""`desired import`: a first desired state, from accounts or from an inventory."""

import stat

from support.command_line import Cli
from support.shops import Shops

from marketplace_async.cli.status import Status


def test_what_is_installed_becomes_a_file_that_plans_to_nothing(shops: Shops, cli: Cli) -> None:
    file = shops.desired.parent / "first.toml"
    done = cli("desired", "import", "--subaccounts", "--to", str(file))
    assert (done.status, done.out) == (Status.DONE, "")
    assert done.err == "note: 60 installed Add-ons of 61 accounts\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "except_sids" in file.read_text()
    plan = ("plan", str(file), "--subaccounts", "--unmanaged", "--detailed-exitcode")
    planned = cli(*plan, "-o", "table")
    assert (planned.status, planned.out) == (Status.DONE, "")

    again = cli("desired", "import", "--subaccounts", "--to", str(file))
    assert again.status == Status.FAILED
    assert f"error: {file} already exists\nhint: Use --overwrite" in again.err
    inventory = str(file.with_name("inventory.jsonl"))
    cli("inventory", "--subaccounts", "--extensions", "--to", inventory)
    done = cli("desired", "import", inventory, "--to", str(file), "--overwrite")
    assert done.status == Status.DONE
    assert "except_sids" not in file.read_text()
    assert cli(*plan).status == Status.DONE


def test_an_account_that_fails_is_reported_and_the_others_are_imported(
    shops: Shops, cli: Cli
) -> None:
    shops.emulator.faults.add("GET", "/v1/InstalledAddOns", status=403, times=1)
    shown = cli("desired", "import", "--subaccounts")
    assert shown.status == Status.PARTLY_FAILED
    assert "1 of 61 accounts failed" in shown.err
    assert 'unique_name = "voicebase_transcription"' in shown.out
    assert "except_sids" not in shown.out


def test_what_to_import_is_said_once(cli: Cli) -> None:
    nothing = cli("desired", "import")
    assert nothing.status == Status.USAGE
    assert "nothing to import: pass an inventory, or --subaccounts" in nothing.err
    both = cli("desired", "import", "inventory.jsonl", "--subaccounts")
    assert both.status == Status.USAGE
    assert "pass either an inventory, or --subaccounts" in both.err
    unsaved = cli("desired", "import", "inventory.jsonl", "--overwrite")
    assert "--overwrite requires --to FILE" in unsaved.err

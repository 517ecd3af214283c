"""`plan --unmanaged`: what no entry covers, in every format."""

import json

from support.shops import Shops

from marketplace_async.cli.status import Status


def test_unmanaged_add_ons_are_shown(shops: Shops) -> None:
    plan = ("plan", "fleet.toml", "--subaccounts", "--unmanaged")
    table = shops.run(*plan, "-o", "table")
    assert table.returncode == Status.DONE
    assert "? unmanaged voicebase_transcription (XB7afe11af3e292cadb03248e0066b8c1e) on 11" in (
        table.stdout
    )
    assert table.stdout.endswith("    ... and 8 more\n")
    verbose = shops.run(*plan, "-o", "table", "--verbose")
    assert verbose.stdout.count("    ? unmanaged voicebase_transcription (XE") == 11
    (group,) = json.loads(shops.run(*plan, "-o", "json").stdout)["unmanaged"]
    assert (group["unique_name"], group["accounts"]) == ("voicebase_transcription", 11)
    assert "unmanaged" not in shops.run(*plan[:-1], "-o", "table").stdout

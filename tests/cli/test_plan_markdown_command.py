"""`plan --markdown`."""

import stat

from support.shops import TOKEN, Shops


def test_a_summary_is_written_beside_any_other_output(shops: Shops) -> None:
    folder = shops.desired.parent
    (folder / "summary.md").touch()  # such as $GITHUB_STEP_SUMMARY
    for options in (("--out", "plan.jsonl"), ("--html", "plan.html"), ("-o", "json"), ()):
        made = shops.run("plan", "fleet.toml", "--subaccounts", "--markdown=summary.md", *options)
        assert made.returncode == 0, made.stderr
        text = (folder / "summary.md").read_text()
        assert text.startswith("<!-- marketplace_async plan -->\n## Plan: 231 steps to do on 61")
        assert TOKEN not in text
        (folder / "plan.html").unlink(missing_ok=True)
        (folder / "plan.html.journal").unlink(missing_ok=True)
    assert stat.S_IMODE((folder / "summary.md").stat().st_mode) == 0o600


def test_other_files_are_not_overwritten(shops: Shops) -> None:
    for options, message in (
        (("--markdown=fleet.toml",), "fleet.toml exists and is not from plan --markdown"),
        (("--markdown=-",), "--markdown -: expected the path of a regular file"),
        (("--markdown=missing/a.md",), "missing"),
        (("--markdown=a", "--out=a"), "a is the file of another option as well"),
        (("--markdown=./a.html", "--html=a.html"), "a.html is the file of another option as well"),
    ):
        done = shops.run("plan", "fleet.toml", "--subaccounts", *options)
        assert done.returncode == 2, options
        assert message in done.stderr, done.stderr
    assert not shops.emulator.log

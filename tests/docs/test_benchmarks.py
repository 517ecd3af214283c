"""The benchmarks run, and the README shows the saved results."""

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from support.paths import PROJECT

from benchmarks import __main__ as command, chart, report
from benchmarks.clients import ACCOUNT, LIST
from benchmarks.harness import Bench, BenchmarkFailed, is_installed
from benchmarks.replay_server import CONFIGURATION, SPEECH_TO_TEXT, Replay, record, request
from benchmarks.results import OURS, Goal, Interval, Measurement, compare
from benchmarks.suite import ROWS
from marketplace_async.emulator import Emulator

URL = "http://127.0.0.1:1234"


# -- the replay server


def comparable(response: bytes) -> dict[bytes, bytes]:
    """Return headers and body, without headers that differ between two responses."""
    head, _, body = response.partition(b"\r\n\r\n")
    headers = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
    for name in (b"Date", b"Twilio-Request-Id", b"Twilio-Request-Duration"):
        del headers[name]
    return {**headers, b"body": body}


async def test_replayed_responses_equal_those_of_the_emulator() -> None:
    async with Emulator(concurrency=1, latency=0.005) as emulator:
        sids = emulator.install(ACCOUNT, SPEECH_TO_TEXT, CONFIGURATION, times=130)
        recording = await record(emulator, URL)
        replay = Replay(recording)
        (page,) = re.findall(rb'"next_page_url":"(.*?)"', b"".join(replay.page(b"")))
        second = page.decode().removeprefix(URL)
        (page,) = re.findall(
            rb'"next_page_url":"(.*?)"', b"".join(replay.page(page.split(b"?")[1]))
        )
        last = page.decode().removeprefix(URL)
        for path in (
            *(f"{LIST}/{sid}" for sid in sids[:3]),
            *(LIST, second, last, f"{LIST}?PageSize=130", f"{LIST}?PageSize=1000"),
        ):
            head, body = await request(emulator, URL, path)
            concurrent = b"Twilio-Concurrent-Requests: 1\r\n"
            real = head + concurrent + b"Content-Length: %d\r\n\r\n" % len(body) + body
            replayed = b"".join(replay.response(path.encode(), 1))
            assert comparable(replayed) == comparable(real), path
    assert b"".join(replay.throttled_response()).startswith(b"HTTP/1.1 429 ")
    assert json.loads(recording.throttled_body)["code"] == 20429


async def test_a_list_can_be_longer_than_the_recording() -> None:
    async with Emulator(concurrency=1, latency=0.005) as emulator:
        emulator.install(ACCOUNT, SPEECH_TO_TEXT, CONFIGURATION, times=30)
        replay = Replay(await record(emulator, URL))
    replay.records = 70
    query, count = b"PageSize=20", 0
    for _ in range(4):
        page = json.loads(b"".join(replay.page(query)))
        count += len(page["installed_add_ons"])
        following = page["meta"]["next_page_url"]
        query = (following or "").encode().partition(b"?")[2]
    assert (count, following) == (70, None)


# -- results


def test_an_interval_contains_its_median_and_is_reproducible() -> None:
    rounds = [1.0, 1.1, 0.9, 1.05, 5.0]
    interval = Interval.of(rounds)
    assert interval.value == 1.05
    assert 0.9 <= interval.low <= interval.value <= interval.high <= 5.0
    assert Interval.of(rounds) == interval
    assert Interval.of([2.0]) == Interval(2.0, 2.0, 2.0)


def test_series_are_compared_round_by_round() -> None:
    series = {OURS: [1.0, 10.0, 4.0], "other": [2.0, 20.0, 4.0], "none": []}
    (ratio,) = compare(series, "other", Goal("at most", 0.6))
    assert (ratio.result.value, ratio.met) == (0.5, True)
    (difference,) = compare(series, "other", Goal("at least", 0.0), kind="difference")
    assert (difference.result.value, difference.met) == (-1.0, False)
    (absolute,) = compare(series, None, kind="absolute")
    assert (absolute.result.value, absolute.met) == (4.0, None)
    assert compare(series, "not measured", Goal("at most", 1.0)) == []


# -- the command line


def test_a_quick_run_measures_every_row(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--output", str(tmp_path)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    document = json.loads((tmp_path / "results.json").read_bytes())
    assert {one["row"] for one in document["measurements"]} == set(ROWS) == set(range(1, 10))
    for one in document["measurements"]:
        assert all(len(rounds) == 1 for rounds in one["series"].values())
    for row in ROWS:
        assert f"\n| {row} | " in run.stdout
    assert "its results are meaningless" in run.stdout
    assert "Not measured: Prism in row 9: @stoplight/prism-cli is not installed." in run.stdout
    for package in ("twilio", "httpx", "orjson"):
        assert (f"{package} is not installed" in run.stdout) is not is_installed(package)
    ET.parse(tmp_path / "results.svg")


def test_a_failed_row_is_reported_and_the_others_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(bench: Bench) -> list[Measurement]:
        raise BenchmarkFailed("failed here")

    monkeypatch.setattr(command, "ROWS", {1: fail, 8: ROWS[8]})
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--rows", "1,8", "--quick"])
    assert command.main() == 1
    output = capsys.readouterr().out
    assert "Row 1 failed: failed here" in output
    assert "\n| 8 | import the package" in output


# -- the saved results


def test_the_chart_and_the_readme_show_the_saved_results() -> None:
    results = report.load()
    assert not results.quick
    assert (report.FOLDER / "results.svg").read_text() == chart.draw(results)
    _, _, rest = report.README.read_text().partition(report.BEGIN)
    assert rest.partition(report.END)[0].strip() == report.section(results)


def test_the_table_marks_missed_goals() -> None:
    results = report.load()
    missed = [
        one
        for measurement in results.measurements
        for one in measurement.comparisons
        if one.met is False
    ]
    assert report.table(results).count("| **no** |") == len(missed)
    assert sum(line.startswith("MISSED") for line in report.remarks(results)) == len(missed)

"""The benchmarks run, and the documentation shows the saved results."""

import asyncio
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import attrs
import msgspec
import pytest
from support.paths import PROJECT

from benchmarks import __main__ as command, chart, report, suite
from benchmarks.clients import ACCOUNT, CLIENTS, LIST, authorization
from benchmarks.harness import (
    Bench,
    BenchmarkFailed,
    Server,
    cores,
    first_line,
    is_installed,
    python,
    server_process,
)
from benchmarks.replay_server import (
    CONFIGURATION,
    SPEECH_TO_TEXT,
    Polling,
    Replay,
    record,
    request,
)
from benchmarks.results import OURS, Goal, Interval, Measurement, compare
from benchmarks.suite import ROWS
from marketplace_async import InstalledAddOn
from marketplace_async.emulator import Emulator

URL = "http://127.0.0.1:1234"
AUTHORIZATION = authorization(ACCOUNT).encode()


# -- the replay server


def headers_of(response: bytes) -> dict[bytes, bytes]:
    head, _, _ = response.partition(b"\r\n\r\n")
    return dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])


def comparable(response: bytes) -> dict[bytes, bytes]:
    """Return headers and body, without what differs between two responses or two servers."""
    headers = headers_of(response)
    for name in (b"Date", b"Twilio-Request-Id", b"Twilio-Request-Duration"):
        del headers[name]
    for name in (b"Connection", b"Content-Type", b"Server"):
        headers.pop(name, None)
    return {**headers, b"body": response.partition(b"\r\n\r\n")[2]}


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
            replayed = b"".join(replay.response(b"GET", path.encode(), AUTHORIZATION, 1))
            assert comparable(replayed) == comparable(head + body), path
    assert b"".join(replay.throttled_response()).startswith(b"HTTP/1.1 429 ")
    assert json.loads(recording.throttled_body)["code"] == 20429


async def test_every_account_has_records_of_its_own() -> None:
    async with Emulator(concurrency=1, latency=0.005) as emulator:
        sids = emulator.install(ACCOUNT, SPEECH_TO_TEXT, CONFIGURATION, times=2)
        replay = Replay(await record(emulator, URL))
    other = "AC" + "2" * 32

    def body(path: str, account_sid: str) -> str:
        response = replay.response(b"GET", path.encode(), authorization(account_sid).encode(), 1)
        return b"".join(response[1:]).decode()

    for path in (LIST, f"{LIST}/{sids[0]}"):
        assert body(path, other) == body(path, ACCOUNT).replace(ACCOUNT, other)
        assert other in body(path, other)


async def test_replayed_heads_have_the_lines_of_the_service() -> None:
    async with Emulator(concurrency=1, latency=0.005) as emulator:
        (sid,) = emulator.install(ACCOUNT, SPEECH_TO_TEXT, CONFIGURATION)
        replay = Replay(await record(emulator, URL))
    for response in (
        b"".join(replay.response(b"GET", f"{LIST}/{sid}".encode(), AUTHORIZATION, 3)),
        b"".join(replay.response(b"GET", f"{LIST}?PageSize=1000".encode(), AUTHORIZATION, 3)),
    ):
        headers = headers_of(response)
        first = (b"Date", b"Content-Type", b"Content-Length", b"Connection")
        assert tuple(headers)[:4] == first
        assert headers[b"Connection"] == b"keep-alive"
        assert headers[b"Content-Type"] == b"application/json"
        assert headers[b"Twilio-Concurrent-Requests"] == b"3"
        assert len(headers) == 17
        assert not {b"Server", b"Transfer-Encoding", b"Content-Encoding"} & set(headers)


async def test_polling_counts_its_idle_time_and_ends_with_the_last_connection() -> None:
    polling = Polling(enabled=True)
    polling.connections = 1
    polling.begin()
    polling.begin()
    for _ in range(1000):
        await asyncio.sleep(0)
    assert polling.idle > 0
    idle = polling.idle
    for _ in range(1000):
        polling.worked = True
        await asyncio.sleep(0)
    assert polling.idle == idle
    polling.connections = 0
    await asyncio.sleep(0.01)
    idle = polling.idle
    await asyncio.sleep(0.01)
    assert polling.idle == idle


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


# -- the servers and the clients


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server.start() as server:
        yield server


@pytest.fixture(scope="module")
def secure_server() -> Iterator[Server]:
    pytest.importorskip("trustme")
    with Server.start_with_tls() as server:
        yield server


def bench_of(server: Server) -> Bench:
    return Bench(server, rounds=None, quick=True, prism=None)


def skip_unless_installed(client: str) -> None:
    for key, packages in suite.CLIENTS.values():
        for package in packages:
            if key == client and not is_installed(package):
                pytest.skip(f"{package} is not installed")


@pytest.mark.skipif(cores()[0] == cores()[1], reason="needs two cores, and Linux")
def test_servers_and_clients_run_on_different_cores() -> None:
    affinity = "import os; print(os.sched_getaffinity(0), flush=True)"
    before = os.sched_getaffinity(0)
    with server_process(sys.executable, "-c", affinity) as process:
        assert first_line(process) == str({cores()[0]})
        assert python("-c", affinity).strip() == str({cores()[1]})
        assert os.sched_getaffinity(0) == before


@pytest.mark.parametrize("client", CLIENTS)
def test_every_client_lists(client: str, server: Server) -> None:
    skip_unless_installed(client)
    bench = bench_of(server)
    bench.configure(records=1500)
    # Twilio's client lists 50 records per page, the others 1,000.
    pages = 30 if client == "official" else 2
    assert bench.run("list", client, records=1500)["processed"] == pages


@pytest.mark.parametrize("client", CLIENTS)
def test_every_client_verifies_the_certificate(client: str, secure_server: Server) -> None:
    import trustme

    skip_unless_installed(client)
    bench = bench_of(secure_server)
    assert bench.run("fetch", client, times=20, concurrency=4)["processed"] == 20
    with trustme.CA().cert_pem.tempfile() as other:
        distrustful = attrs.evolve(bench, server=attrs.evolve(secure_server, ca=Path(other)))
        with pytest.raises(BenchmarkFailed, match=r"(?i)certificate|UnknownIssuer"):
            distrustful.run("fetch", client, times=20, concurrency=4)


async def test_the_hand_written_protocol_decodes_the_same_records(server: Server) -> None:
    async with (
        CLIENTS["ours"](server.url, ACCOUNT, 4) as ours,
        CLIENTS["floor"](server.url, ACCOUNT, 4) as floor,
    ):
        for sid in server.sids[:3]:
            record, same = await ours.fetch(sid), await floor.fetch(sid)
            assert isinstance(record, InstalledAddOn)
            assert isinstance(same, msgspec.Struct)
            assert msgspec.structs.asdict(same) == attrs.asdict(record)


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
        env={name: value for name, value in os.environ.items() if "COVERAGE" not in name},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    document = json.loads((tmp_path / "results.json").read_bytes())
    assert {one["row"] for one in document["measurements"]} == set(ROWS) == set(range(1, 15))
    for one in document["measurements"]:
        assert all(len(rounds) == 1 for rounds in one["series"].values())
        assert one["series"] or one["missing"]
    for row in ROWS:
        assert f"\n| {row} | " in run.stdout
    assert "its results are meaningless" in run.stdout
    assert "Not measured: Prism in row 13: @stoplight/prism-cli is not installed." in run.stdout
    for package in ("aiosonic", "httpx", "orjson", "pyreqwest", "trustme", "twilio", "uvloop"):
        assert (f"{package} is not installed" in run.stdout) is not is_installed(package)
    ET.parse(tmp_path / "results.svg")


def test_a_failed_row_is_reported_and_the_others_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(bench: Bench) -> list[Measurement]:
        raise BenchmarkFailed("failed here")

    monkeypatch.setattr(command, "ROWS", {1: fail, 12: ROWS[12]})
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--rows", "1,12", "--quick"])
    assert command.main() == 1
    output = capsys.readouterr().out
    assert "Row 1 failed: failed here" in output
    assert "\n| 12 | import the package" in output


def test_a_profile_tells_where_the_time_goes(server: Server) -> None:
    bench = attrs.evolve(bench_of(server), profiles=[])
    bench.run("fetch", "ours", times=200, concurrency=4)
    assert bench.profiles is not None
    (profile,) = bench.profiles
    assert sum(profile.shares.values()) == pytest.approx(1)
    assert any(name.startswith("marketplace_async/_core/") for name in profile.shares)
    table = profile.table()
    assert table.startswith("fetch, ours: ")
    assert re.search(r"^ +\d+\.\d\d +\d+\.\d%  marketplace_async$", table, re.MULTILINE)


# -- the saved results


def test_the_chart_and_the_documentation_show_the_saved_results() -> None:
    results = report.load()
    assert not results.quick
    assert report.CHART.read_text() == chart.draw(results)
    for file, text in (
        (report.PAGE, report.section(results)),
        (report.README, report.headlines(results)),
    ):
        _, _, rest = file.read_text().partition(report.BEGIN)
        assert rest.partition(report.END)[0].strip() == text


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

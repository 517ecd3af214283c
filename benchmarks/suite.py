"""The benchmark suite: one function for each row in the table of results."""

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from . import server_load
from .harness import PROJECT, Bench, Values, cores, is_installed, on_core, python
from .results import OURS, Goal, Measurement, compare

OFFICIAL: Final = "twilio"
AIOHTTP: Final = "aiohttp, r.json()"
ORJSON: Final = "aiohttp, orjson"
HTTPX: Final = "httpx"
PRISM: Final = "Prism"
KNOWN_LIMITS: Final = "the same, with known limits"
DEPENDENCIES: Final = "aiohttp, attrs, cattrs, yarl"

# By name: the key in CLIENTS, and a package that must be installed.
_CLIENTS: Final = {
    OURS: ("ours", None),
    OFFICIAL: ("official", "twilio"),
    AIOHTTP: ("aiohttp", None),
    ORJSON: ("aiohttp, orjson", "orjson"),
    HTTPX: ("httpx", "httpx"),
}
DESCRIPTION: Final = Path(
    os.environ.get("MARKETPLACE_OPENAPI", PROJECT / "../shared/api/marketplace_v1.json")
)


def _select(*names: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the keys of the available clients, and the reasons why others are missing."""
    available, missing = {}, {}
    for name in names:
        key, package = _CLIENTS[name]
        if package is None or is_installed(package):
            available[name] = key
        else:
            missing[name] = f"{package} is not installed"
    return available, missing


def _series(
    values: Mapping[str, Sequence[Values]], select: Callable[[Values], float]
) -> dict[str, list[float]]:
    return {name: [select(one) for one in rounds] for name, rounds in values.items()}


def _max_server_busy(values: Mapping[str, Sequence[Values]]) -> float:
    return max(one["server_busy"] for rounds in values.values() for one in rounds)


def fetch(bench: Bench) -> Iterator[Measurement]:
    available, missing = _select(OURS, AIOHTTP, ORJSON, OFFICIAL, HTTPX)
    times = bench.size(4000, quick=100)
    tasks = {
        # httpx is about twenty times slower and has no goal.
        name: {"work": "fetch", "client": key, "times": times // 10 if name == HTTPX else times}
        for name, key in available.items()
    }
    bench.configure(latency=0)
    values = bench.interleaved(
        bench.round_count(15), {name: {**task, "concurrency": 32} for name, task in tasks.items()}
    )
    series = _series(values, lambda one: one["processed"] / one["wall"])
    yield Measurement(
        row=1,
        work="fetch by SID, concurrency 32, typed records",
        measure="throughput",
        unit="fetches/s",
        better="more",
        series=series,
        comparisons=[
            *compare(series, AIOHTTP, Goal("at least", 1.0)),
            *compare(series, OFFICIAL, Goal("at least", 1.6)),
            *compare(series, ORJSON),
            *compare(series, HTTPX),
        ],
        server_busy=_max_server_busy(values),
        missing=missing,
    )


def list_cpu(bench: Bench) -> Iterator[Measurement]:
    available, missing = _select(OURS, ORJSON, OFFICIAL)
    records = bench.size(5000, quick=2000)
    times = bench.size(4, quick=1)
    bench.configure(latency=0, records=records)
    task = {"work": "list", "records": records, "times": times, "warm": True}
    values = bench.interleaved(
        bench.round_count(15), {name: {**task, "client": key} for name, key in available.items()}
    )
    series = _series(values, lambda one: one["cpu"] / times * 1000)
    yield Measurement(
        row=2,
        work=f"list {records:,} records, default settings",
        measure="CPU time",
        unit="ms",
        better="less",
        series=series,
        comparisons=[
            *compare(series, OFFICIAL, Goal("at most", 1 / 10)),
            *compare(series, ORJSON, Goal("at most", 1.1)),
        ],
        server_busy=_max_server_busy(values),
        missing=missing,
    )


def list_with_latency(bench: Bench) -> Iterator[Measurement]:
    available, missing = _select(OURS, OFFICIAL)
    records = bench.size(10_000, quick=500)
    bench.configure(latency=0.05, records=records)
    values = bench.interleaved(
        bench.round_count(3),
        {
            name: {"work": "list", "client": key, "records": records}
            for name, key in available.items()
        },
    )
    series = _series(values, lambda one: one["wall"])
    yield Measurement(
        row=3,
        work=f"list {records:,} records, 50 ms per round trip, default settings",
        measure="wall time",
        unit="s",
        better="less",
        series=series,
        comparisons=compare(series, OFFICIAL, Goal("at most", 1 / 15)),
        server_busy=_max_server_busy(values),
        missing=missing,
    )


def merge(bench: Bench) -> Iterator[Measurement]:
    available, missing = _select(OURS, ORJSON)
    accounts = bench.size(1000, quick=20)
    bench.configure(latency=0.02, records=200)
    task = {"work": "merge", "accounts": accounts, "records": 200}
    values = bench.interleaved(
        bench.round_count(9), {name: {**task, "client": key} for name, key in available.items()}
    )
    series = _series(values, lambda one: one["wall"])
    yield Measurement(
        row=4,
        work=f"merge {accounts:,} accounts of 200 records, 20 ms per round trip, concurrency 64",
        measure="wall time",
        unit="s",
        better="less",
        series=series,
        comparisons=compare(series, ORJSON, Goal("at most", 1.15)),
        server_busy=_max_server_busy(values),
        missing=missing,
    )


def merge_many(bench: Bench) -> Iterator[Measurement]:
    few = bench.size(1000, quick=20)
    many = few * 10
    bench.configure(latency=0.02, records=200)
    task = {"work": "merge", "client": "ours", "records": 200}
    sizes = {f"{accounts:,} accounts": accounts for accounts in (few, many)}
    values = bench.interleaved(
        bench.round_count(3), {name: {**task, "accounts": count} for name, count in sizes.items()}
    )
    small, large = sizes
    walls = _series(values, lambda one: one["wall"])
    walls[small] = [10 * wall for wall in walls[small]]
    ten_times = f"10 times {small}"
    walls = {ten_times: walls[small], large: walls[large]}
    yield Measurement(
        row=5,
        work=f"merge {large} of 200 records, as above",
        measure="wall time",
        unit="s",
        better="less",
        series=walls,
        # The goal is linear scaling. 10 % is a margin for other load on the machine.
        comparisons=compare(walls, ten_times, Goal("at most", 1.1), subject=large),
        server_busy=_max_server_busy(values),
    )
    peaks = _series(values, lambda one: one["peak"] / 1e6)
    yield Measurement(
        row=5,
        work=f"merge {large} of 200 records, as above",
        measure="peak memory",
        unit="MB",
        better="less",
        series=peaks,
        comparisons=compare(peaks, small, Goal("at most", 1.1), subject=large),
    )


def stream(bench: Bench) -> Iterator[Measurement]:
    few, many = bench.size(10_000, quick=1_000), bench.size(1_000_000, quick=10_000)
    values: dict[str, list[Values]] = {}
    for _ in range(bench.round_count(3)):
        for records in (few, many):
            bench.configure(latency=0, records=records)
            run = bench.run("stream", "ours", records=records)
            values.setdefault(f"{records:,} records", []).append(run)
    series = _series(values, lambda one: one["peak"] / 1e6)
    small, large = series
    yield Measurement(
        row=6,
        work=f"stream {large}",
        measure="peak memory",
        unit="MB",
        better="less",
        series=series,
        comparisons=compare(series, small, Goal("at most", 10.0), subject=large, kind="difference"),
        server_busy=_max_server_busy(values),
    )


def limited_accounts(bench: Bench) -> Iterator[Measurement]:
    accounts, times = bench.size(100, quick=5), bench.size(300, quick=20)
    bench.configure(latency=0.1, limit=5)
    task = {
        "work": "limited_accounts",
        "accounts": accounts,
        "times": times,
        "concurrency": 600,
        "account_limit": 5,
    }
    values = bench.interleaved(
        bench.round_count(5),
        {OURS: {**task, "client": "ours"}, KNOWN_LIMITS: {**task, "client": "known_limits"}},
    )
    series = _series(values, lambda one: one["processed"] / one["wall"])
    work = (
        f"{times} fetches for each of {accounts} accounts, limit 5 per account, 100 ms, "
        "concurrency 600"
    )
    yield Measurement(
        row=7,
        work=work,
        measure="throughput",
        unit="fetches/s",
        better="more",
        series=series,
        comparisons=compare(series, KNOWN_LIMITS, Goal("at least", 0.95)),
        server_busy=_max_server_busy(values),
    )
    throttled = _series(
        values, lambda one: 100 * one["throttled"] / (one["processed"] + one["throttled"])
    )
    yield Measurement(
        row=7,
        work=work,
        measure="throttled",
        unit="%",
        better="less",
        series=throttled,
        comparisons=compare(throttled, None, Goal("at most", 2.0), kind="absolute"),
    )


def imports(bench: Bench) -> Iterator[Measurement]:
    statements = {
        OURS: "import marketplace_async",
        DEPENDENCIES: "import aiohttp, attrs, cattrs.preconf.msgspec, yarl",
    }
    timed = "import time; started = time.perf_counter(); {}; print(time.perf_counter() - started)"
    for statement in statements.values():
        python("-c", statement)  # fills the bytecode cache
    series: dict[str, list[float]] = {name: [] for name in statements}
    for _ in range(bench.round_count(25)):
        for name, statement in statements.items():
            series[name].append(float(python("-c", timed.format(statement))) * 1000)
    yield Measurement(
        row=8,
        work="import the package",
        measure="wall time",
        unit="ms",
        better="less",
        series=series,
        comparisons=compare(series, DEPENDENCIES, Goal("at most", 1.15)),
    )


def serve(bench: Bench) -> Iterator[Measurement]:
    seconds = bench.size(20, quick=2) / 10
    missing = {}
    with ExitStack() as servers:
        # Both servers run throughout, because V8 needs seconds of load to compile hot code. An idle
        # server does not slow the other one down.
        urls = {OURS: servers.enter_context(server_load.emulator())}
        path = f"/v1/InstalledAddOns/{asyncio.run(server_load.fill(urls[OURS]))}"
        page = "/v1/InstalledAddOns?PageSize=1000"
        if bench.prism is None:
            missing[PRISM] = "@stoplight/prism-cli is not installed"
        elif not DESCRIPTION.is_file():
            missing[PRISM] = "the OpenAPI description is missing"
        else:
            urls[PRISM] = servers.enter_context(server_load.prism(bench.prism, DESCRIPTION))
        for url in urls.values():
            server_load.rate(url, path, seconds * 4)
        fetches: dict[str, list[float]] = {name: [] for name in urls}
        pages = []
        for _ in range(bench.round_count(5)):
            for name, url in urls.items():
                fetches[name].append(server_load.rate(url, path, seconds))
            pages.append(server_load.rate(urls[OURS], page, seconds))
    yield Measurement(
        row=9,
        work="emulator: fetch by SID, one core",
        measure="throughput",
        unit="responses/s",
        better="more",
        series=fetches,
        comparisons=compare(fetches, PRISM, Goal("at least", 4.0)),
        missing=missing,
    )
    yield _without_goal(
        "emulator: list a page of 1,000 records, one core", "responses/s", "more", pages
    )
    with on_core(cores()[1]):
        starts = [
            asyncio.run(server_load.startup_time(5)) * 1000 for _ in range(bench.round_count(5))
        ]
    yield _without_goal("emulator: start, without imports", "ms", "less", starts)


def _without_goal(work: str, unit: str, better: Any, values: list[float]) -> Measurement:
    series = {OURS: values}
    measure = "throughput" if better == "more" else "wall time"
    return Measurement(
        row=9,
        work=work,
        measure=measure,
        unit=unit,
        better=better,
        series=series,
        comparisons=compare(series, None, kind="absolute"),
    )


ROWS: Final[dict[int, Callable[[Bench], Iterator[Measurement]]]] = {
    1: fetch,
    2: list_cpu,
    3: list_with_latency,
    4: merge,
    5: merge_many,
    6: stream,
    7: limited_accounts,
    8: imports,
    9: serve,
}

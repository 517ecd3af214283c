"""The benchmark suite: one function for each row in the table of results."""

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import attrs

from . import server_load
from .clients import LIST
from .harness import (
    PROJECT,
    Bench,
    Server,
    Values,
    cores,
    get_json,
    is_installed,
    on_core,
    python,
)
from .results import OURS, Comparison, Goal, Measurement, compare

FLOOR: Final = "hand-written protocol"
OFFICIAL: Final = "twilio"
AIOHTTP: Final = "aiohttp, r.json()"
ORJSON: Final = "aiohttp, orjson"
PYREQWEST: Final = "pyreqwest"
AIOSONIC: Final = "aiosonic, orjson"
HTTPX: Final = "httpx"
PRISM: Final = "Prism"
STANDING: Final = "the same, one client for all"
ASYNCIO: Final = "the same, under asyncio"
KNOWN_LIMITS: Final = "the same, with known limits"
BY_HAND: Final = "aiohttp, the same requests without a journal"
DEPENDENCIES: Final = "aiohttp, attrs, cattrs, yarl"

# By name: the key in `clients.py`, and the packages that must be installed.
CLIENTS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    OURS: ("ours", ()),
    FLOOR: ("floor", ()),
    OFFICIAL: ("official", ("twilio",)),
    AIOHTTP: ("aiohttp", ()),
    ORJSON: ("aiohttp, orjson", ("orjson",)),
    PYREQWEST: ("pyreqwest", ("pyreqwest",)),
    AIOSONIC: ("aiosonic, orjson", ("aiosonic", "orjson")),
    HTTPX: ("httpx", ("httpx",)),
}
_FETCHING: Final = (OURS, AIOHTTP, ORJSON, OFFICIAL, PYREQWEST, AIOSONIC)
DESCRIPTION: Final = Path(
    os.environ.get("MARKETPLACE_OPENAPI", PROJECT / "../shared/api/marketplace_v1.json")
)


def _select(*names: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the keys of the available clients, and the reasons why others are missing."""
    available, missing = {}, {}
    for name in names:
        key, packages = CLIENTS[name]
        absent = [package for package in packages if not is_installed(package)]
        if absent:
            missing[name] = f"{absent[0]} is not installed"
        else:
            available[name] = key
    return available, missing


def _series(
    values: Mapping[str, Sequence[Values]], select: Callable[[Values], float]
) -> dict[str, list[float]]:
    return {name: [select(one) for one in rounds] for name, rounds in values.items()}


def _max_server_busy(values: Mapping[str, Sequence[Values]]) -> float:
    return max(one["server_busy"] for rounds in values.values() for one in rounds)


def _against(series: dict[str, list[float]], goals: Mapping[str, Goal | None]) -> list[Comparison]:
    """Compare this package with each client that was measured, those with a goal first."""
    others = {**goals, **{name: None for name in series if name not in (OURS, *goals)}}
    return [one for name, goal in others.items() for one in compare(series, name, goal)]


def _with_asyncio(tasks: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Add this package under asyncio to tasks that run under uvloop."""
    ours = tasks[OURS]
    return {**tasks, ASYNCIO: {**ours, "uvloop": False}} if "uvloop" in ours else dict(tasks)


def _fetch(
    bench: Bench,
    row: int,
    how: str,
    names: Sequence[str],
    throughput: Mapping[str, Goal],
    cpu: Goal | None = None,
    **options: Any,
) -> Iterator[Measurement]:
    """Measure fetches by SID, one record each, with 32 in flight."""
    available, missing = _select(*names)
    times = bench.size(4000, quick=100)
    bench.configure(latency=0)
    task = {"work": "fetch", "concurrency": 32, **options}
    tasks = {
        # httpx is about twenty times slower and has no goal.
        name: {**task, "client": key, "times": times // 10 if name == HTTPX else times}
        for name, key in (available | {FLOOR: "floor"}).items()
    }
    values = bench.interleaved(bench.round_count(15), _with_asyncio(tasks))
    work = f"fetch by SID, {how}"
    # The hand-written protocol is as fast as the server, so that only its CPU time tells something.
    others = {name: rounds for name, rounds in values.items() if name != FLOOR}
    series = _series(others, lambda one: one["processed"] / one["wall"])
    yield Measurement(
        row=row,
        work=work,
        measure="throughput",
        unit="fetches/s",
        better="more",
        series=series,
        comparisons=_against(series, throughput),
        server_busy=_max_server_busy(others),
        missing=missing,
    )
    yield _cpu_per_fetch(row, work, values, FLOOR, cpu)


def _cpu_per_fetch(
    row: int, work: str, values: dict[str, list[Values]], against: str, goal: Goal | None
) -> Measurement:
    measured = {name: values[name] for name in (OURS, against)}
    series = _series(measured, lambda one: one["cpu"] / one["processed"] * 1e6)
    return Measurement(
        row=row,
        work=work,
        measure="CPU time per fetch",
        unit="µs",
        better="less",
        series=series,
        comparisons=compare(series, against, goal),
    )


def fetch(bench: Bench) -> Iterator[Measurement]:
    throughput = {
        AIOHTTP: Goal("at least", 2.0),
        ORJSON: Goal("at least", 1.8),
        OFFICIAL: Goal("at least", 3.5),
    }
    how = "concurrency 32, typed records"
    return _fetch(bench, 1, how, (*_FETCHING, HTTPX), throughput, Goal("at most", 2.5))


def _fetch_over_tls(
    bench: Bench,
    row: int,
    how: str,
    names: Sequence[str],
    throughput: Mapping[str, Goal],
    **options: Any,
) -> Iterator[Measurement]:
    if not is_installed("trustme"):
        yield _not_measured(row, f"fetch by SID, {how}", "trustme is not installed")
        return
    with Server.start_with_tls() as server:
        bench = attrs.evolve(bench, server=server)
        yield from _fetch(bench, row, how, names, throughput, **options)


def fetch_over_tls(bench: Bench) -> Iterator[Measurement]:
    goals = {AIOHTTP: Goal("at least", 2.0)}
    return _fetch_over_tls(bench, 2, "concurrency 32, over TLS", _FETCHING, goals)


def fetch_derived(bench: Bench) -> Iterator[Measurement]:
    times = bench.size(4000, quick=100)
    bench.configure(latency=0)
    task = {"work": "fetch", "concurrency": 32, "times": times}
    values = bench.interleaved(
        bench.round_count(25),
        {OURS: {**task, "client": "ours, derived"}, STANDING: {**task, "client": "ours"}},
    )
    work = "fetch by SID, concurrency 32, each through a new derived client"
    yield _cpu_per_fetch(3, work, values, STANDING, Goal("at most", 1.15))


def fetch_uvloop(bench: Bench) -> Iterator[Measurement]:
    how = "concurrency 32, under uvloop"
    if not is_installed("uvloop"):
        yield _not_measured(4, f"fetch by SID, {how}", "uvloop is not installed")
        return
    yield from _fetch(bench, 4, how, _FETCHING, {}, uvloop=True)
    how, names = "concurrency 32, over TLS, under uvloop", (OURS, AIOHTTP, ORJSON)
    yield from _fetch_over_tls(bench, 4, how, names, {}, uvloop=True)


def _list(
    bench: Bench, row: int, how: str, goals: Mapping[str, Goal], **options: Any
) -> Iterator[Measurement]:
    """Measure a list of 5,000 records that are kept."""
    available, missing = _select(OURS, ORJSON, OFFICIAL, FLOOR)
    records = bench.size(5000, quick=2000)
    times = bench.size(4, quick=1)
    bench.configure(latency=0, records=records)
    task = {"work": "list", "records": records, "times": times, "warm": True, **options}
    tasks = {name: {**task, "client": key} for name, key in available.items()}
    values = bench.interleaved(bench.round_count(15), _with_asyncio(tasks))
    series = _series(values, lambda one: one["cpu"] / times * 1000)
    yield Measurement(
        row=row,
        work=f"list {records:,} records, {how}",
        measure="CPU time",
        unit="ms",
        better="less",
        series=series,
        comparisons=_against(series, goals),
        server_busy=_max_server_busy(values),
        missing=missing,
    )


def list_cpu(bench: Bench) -> Iterator[Measurement]:
    goals = {OFFICIAL: Goal("at most", 1 / 8), ORJSON: Goal("at most", 0.92)}
    return _list(bench, 5, "default settings", goals)


def list_uvloop(bench: Bench) -> Iterator[Measurement]:
    how = "under uvloop"
    if not is_installed("uvloop"):
        yield _not_measured(6, f"list, {how}", "uvloop is not installed")
        return
    yield from _list(bench, 6, how, {}, uvloop=True)


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
        row=7,
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
        row=8,
        work=f"merge {accounts:,} accounts of 200 records, 20 ms per round trip, concurrency 64",
        measure="wall time",
        unit="s",
        better="less",
        series=series,
        comparisons=compare(series, ORJSON, Goal("at most", 1.02)),
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
        row=9,
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
        row=9,
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
        row=10,
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
        row=11,
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
        row=11,
        work=work,
        measure="throttled",
        unit="%",
        better="less",
        series=throttled,
        comparisons=compare(throttled, None, Goal("at most", 2.0), kind="absolute"),
    )


def apply(bench: Bench) -> Iterator[Measurement]:
    accounts = bench.size(2000, quick=50)
    bench.configure(latency=0.02, records=5)
    page = get_json(bench.server.url, f"{LIST}?PageSize=1", bench.server.ca)
    task = {
        "work": "apply",
        "accounts": accounts,
        "unique_name": page["installed_add_ons"][0]["unique_name"],
    }
    values = bench.interleaved(
        bench.round_count(9),
        {OURS: {**task, "client": "ours"}, BY_HAND: {**task, "client": "aiohttp"}},
    )
    series = _series(values, lambda one: accounts / one["wall"])
    yield Measurement(
        row=14,
        work=f"plan and apply a removal on {accounts:,} accounts, 20 ms per round trip, "
        "concurrency 64",
        measure="throughput",
        unit="accounts/s",
        better="more",
        series=series,
        comparisons=compare(series, BY_HAND, Goal("at least", 0.8)),
        server_busy=_max_server_busy(values),
    )


def imports(bench: Bench) -> Iterator[Measurement]:
    statements = {
        # The package imports its names when the first one is used.
        OURS: "from marketplace_async import MarketplaceClient",
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
        row=12,
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
        row=13,
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


def _not_measured(row: int, work: str, why: str) -> Measurement:
    return Measurement(
        row=row,
        work=work,
        measure="all",
        unit="-",
        better="more",
        series={},
        comparisons=[],
        missing={"all clients": why},
    )


def _without_goal(work: str, unit: str, better: Any, values: list[float]) -> Measurement:
    series = {OURS: values}
    measure = "throughput" if better == "more" else "wall time"
    return Measurement(
        row=13,
        work=work,
        measure=measure,
        unit=unit,
        better=better,
        series=series,
        comparisons=compare(series, None, kind="absolute"),
    )


ROWS: Final[dict[int, Callable[[Bench], Iterator[Measurement]]]] = {
    1: fetch,
    2: fetch_over_tls,
    3: fetch_derived,
    4: fetch_uvloop,
    5: list_cpu,
    6: list_uvloop,
    7: list_with_latency,
    8: merge,
    9: merge_many,
    10: stream,
    11: limited_accounts,
    12: imports,
    13: serve,
    14: apply,
}

"""The rows of the table of goals: what is run for each, and what its figures are held against."""

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from . import emulator
from .figures import OURS, Goal, Measurement, compare
from .harness import PROJECT, Bench, Figures, cores, is_installed, on_core, python

OFFICIAL: Final = "twilio"
AIOHTTP: Final = "aiohttp, r.json()"
ORJSON: Final = "aiohttp, orjson"
HTTPX: Final = "httpx"
PRISM: Final = "Prism"
TOLD: Final = "the same, told the limits"
PARTS: Final = "aiohttp, attrs, cattrs, yarl"

# Name, key in PEERS, and the package that it needs beside ours.
_PEERS: Final = {
    OURS: ("ours", None),
    OFFICIAL: ("official", "twilio"),
    AIOHTTP: ("aiohttp", None),
    ORJSON: ("aiohttp, orjson", "orjson"),
    HTTPX: ("httpx", "httpx"),
}
DESCRIPTION: Final = Path(
    os.environ.get("MARKETPLACE_OPENAPI", PROJECT / "../shared/api/marketplace_v1.json")
)


def _among(*names: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return those that can be measured with their keys, and those that cannot with a reason."""
    present, missing = {}, {}
    for name in names:
        key, package = _PEERS[name]
        if package is None or is_installed(package):
            present[name] = key
        else:
            missing[name] = f"{package} is not installed"
    return present, missing


def _of(
    figures: Mapping[str, Sequence[Figures]], figure: Callable[[Figures], float]
) -> dict[str, list[float]]:
    return {name: [figure(one) for one in rounds] for name, rounds in figures.items()}


def _busiest(figures: Mapping[str, Sequence[Figures]]) -> float:
    return max(one["server_busy"] for rounds in figures.values() for one in rounds)


def fetch(bench: Bench) -> Iterator[Measurement]:
    present, missing = _among(OURS, AIOHTTP, ORJSON, OFFICIAL, HTTPX)
    times = bench.much(4000, quick=100)
    tasks = {
        # httpx takes some twenty times as long for one, and no goal hangs on it.
        name: {"work": "fetch", "peer": key, "times": times // 10 if name == HTTPX else times}
        for name, key in present.items()
    }
    bench.set(latency=0)
    figures = bench.interleaved(
        bench.times(15), {name: {**task, "at_once": 32} for name, task in tasks.items()}
    )
    series = _of(figures, lambda one: one["answered"] / one["wall"])
    yield Measurement(
        row=1,
        work="fetch by SID, 32 at a time, typed record out",
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
        server_busy=_busiest(figures),
        missing=missing,
    )


def list_cpu(bench: Bench) -> Iterator[Measurement]:
    present, missing = _among(OURS, ORJSON, OFFICIAL)
    records = bench.much(5000, quick=2000)
    times = bench.much(4, quick=1)
    bench.set(latency=0, records=records)
    task = {"work": "list", "records": records, "times": times, "warm": True}
    figures = bench.interleaved(
        bench.times(15), {name: {**task, "peer": key} for name, key in present.items()}
    )
    series = _of(figures, lambda one: one["cpu"] / times * 1000)
    yield Measurement(
        row=2,
        work=f"list {records:,} records, each with its defaults",
        measure="CPU",
        unit="ms",
        better="less",
        series=series,
        comparisons=[
            *compare(series, OFFICIAL, Goal("at most", 1 / 10)),
            *compare(series, ORJSON, Goal("at most", 1.1)),
        ],
        server_busy=_busiest(figures),
        missing=missing,
    )


def list_far(bench: Bench) -> Iterator[Measurement]:
    present, missing = _among(OURS, OFFICIAL)
    records = bench.much(10_000, quick=500)
    bench.set(latency=0.05, records=records)
    figures = bench.interleaved(
        bench.times(3),
        {name: {"work": "list", "peer": key, "records": records} for name, key in present.items()},
    )
    series = _of(figures, lambda one: one["wall"])
    yield Measurement(
        row=3,
        work=f"list {records:,} records at 50 ms a round trip, each with its defaults",
        measure="wall",
        unit="s",
        better="less",
        series=series,
        comparisons=compare(series, OFFICIAL, Goal("at most", 1 / 15)),
        server_busy=_busiest(figures),
        missing=missing,
    )


def merge(bench: Bench) -> Iterator[Measurement]:
    present, missing = _among(OURS, ORJSON)
    accounts = bench.much(1000, quick=20)
    bench.set(latency=0.02, records=200)
    task = {"work": "merge", "accounts": accounts, "records": 200}
    figures = bench.interleaved(
        bench.times(9), {name: {**task, "peer": key} for name, key in present.items()}
    )
    series = _of(figures, lambda one: one["wall"])
    yield Measurement(
        row=4,
        work=f"{accounts:,} accounts of 200 records each, 20 ms a round trip, 64 slots",
        measure="wall",
        unit="s",
        better="less",
        series=series,
        comparisons=compare(series, ORJSON, Goal("at most", 1.15)),
        server_busy=_busiest(figures),
        missing=missing,
    )


def merge_more(bench: Bench) -> Iterator[Measurement]:
    few = bench.much(1000, quick=20)
    many = few * 10
    bench.set(latency=0.02, records=200)
    task = {"work": "merge", "peer": "ours", "records": 200}
    sizes = {f"{accounts:,} accounts": accounts for accounts in (few, many)}
    figures = bench.interleaved(
        bench.times(3), {name: {**task, "accounts": count} for name, count in sizes.items()}
    )
    small, large = sizes
    walls = _of(figures, lambda one: one["wall"])
    walls[small] = [10 * wall for wall in walls[small]]
    ten_times = f"10 times {small}"
    walls = {ten_times: walls[small], large: walls[large]}
    yield Measurement(
        row=5,
        work=f"{large} of 200 records each, as above",
        measure="wall",
        unit="s",
        better="less",
        series=walls,
        # In proportion: a tenth is left to what a machine does meanwhile.
        comparisons=compare(walls, ten_times, Goal("at most", 1.1), subject=large),
        server_busy=_busiest(figures),
    )
    peaks = _of(figures, lambda one: one["peak"] / 1e6)
    yield Measurement(
        row=5,
        work=f"{large} of 200 records each, as above",
        measure="peak memory",
        unit="MB",
        better="less",
        series=peaks,
        comparisons=compare(peaks, small, Goal("at most", 1.1), subject=large),
    )


def stream(bench: Bench) -> Iterator[Measurement]:
    few, many = bench.much(10_000, quick=1_000), bench.much(1_000_000, quick=10_000)
    figures: dict[str, list[Figures]] = {}
    for _ in range(bench.times(3)):
        for records in (few, many):
            bench.set(latency=0, records=records)
            run = bench.run("stream", "ours", records=records)
            figures.setdefault(f"{records:,} records", []).append(run)
    series = _of(figures, lambda one: one["peak"] / 1e6)
    small, large = series
    yield Measurement(
        row=6,
        work=f"stream {large}",
        measure="peak memory",
        unit="MB",
        better="less",
        series=series,
        comparisons=compare(series, small, Goal("at most", 10.0), subject=large, kind="difference"),
        server_busy=_busiest(figures),
    )


def crowd(bench: Bench) -> Iterator[Measurement]:
    accounts, times = bench.much(100, quick=5), bench.much(300, quick=20)
    bench.set(latency=0.1, limit=5)
    task = {"work": "crowd", "accounts": accounts, "times": times, "at_once": 600, "each": 5}
    figures = bench.interleaved(
        bench.times(5), {OURS: {**task, "peer": "ours"}, TOLD: {**task, "peer": "told"}}
    )
    series = _of(figures, lambda one: one["answered"] / one["wall"])
    work = f"{accounts} accounts allowing 5 at once at 100 ms, {times} fetches each, 600 slots"
    yield Measurement(
        row=7,
        work=work,
        measure="throughput",
        unit="fetches/s",
        better="more",
        series=series,
        comparisons=compare(series, TOLD, Goal("at least", 0.95)),
        server_busy=_busiest(figures),
    )
    refused = _of(figures, lambda one: 100 * one["refused"] / (one["answered"] + one["refused"]))
    yield Measurement(
        row=7,
        work=work,
        measure="refused",
        unit="%",
        better="less",
        series=refused,
        comparisons=compare(refused, None, Goal("at most", 2.0), kind="itself"),
    )


def imports(bench: Bench) -> Iterator[Measurement]:
    statements = {
        OURS: "import marketplace_async",
        PARTS: "import aiohttp, attrs, cattrs.preconf.msgspec, yarl",
    }
    timed = "import time; started = time.perf_counter(); {}; print(time.perf_counter() - started)"
    for statement in statements.values():
        python("-c", statement)  # compiles what has not been
    series: dict[str, list[float]] = {name: [] for name in statements}
    for _ in range(bench.times(25)):
        for name, statement in statements.items():
            series[name].append(float(python("-c", timed.format(statement))) * 1000)
    yield Measurement(
        row=8,
        work="import of the package",
        measure="wall",
        unit="ms",
        better="less",
        series=series,
        comparisons=compare(series, PARTS, Goal("at most", 1.15)),
    )


def serve(bench: Bench) -> Iterator[Measurement]:
    seconds = bench.much(20, quick=2) / 10
    missing = {}
    with ExitStack() as servers:
        # Both run all the time, the idle one costing the other nothing: V8 takes seconds under load
        # until it has compiled what is hot.
        urls = {OURS: servers.enter_context(emulator.emulator())}
        path = f"/v1/InstalledAddOns/{asyncio.run(emulator.fill(urls[OURS]))}"
        page = "/v1/InstalledAddOns?PageSize=1000"
        if bench.prism is None:
            missing[PRISM] = "@stoplight/prism-cli is not installed"
        elif not DESCRIPTION.is_file():
            missing[PRISM] = "there is no OpenAPI description beside the project"
        else:
            urls[PRISM] = servers.enter_context(emulator.prism(bench.prism, DESCRIPTION))
        for url in urls.values():
            emulator.rate(url, path, seconds * 4)
        fetches: dict[str, list[float]] = {name: [] for name in urls}
        pages = []
        for _ in range(bench.times(5)):
            for name, url in urls.items():
                fetches[name].append(emulator.rate(url, path, seconds))
            pages.append(emulator.rate(urls[OURS], page, seconds))
    yield Measurement(
        row=9,
        work="the emulator, a fetch, on one core",
        measure="throughput",
        unit="answers/s",
        better="more",
        series=fetches,
        comparisons=compare(fetches, PRISM, Goal("at least", 4.0)),
        missing=missing,
    )
    yield _told("the emulator, a page of 1,000 records, on one core", "answers/s", "more", pages)
    with on_core(cores()[1]):
        starts = [asyncio.run(emulator.start(5)) * 1000 for _ in range(bench.times(5))]
    yield _told("the emulator, until it listens, without imports", "ms", "less", starts)


def _told(work: str, unit: str, better: Any, figures: list[float]) -> Measurement:
    series = {OURS: figures}
    measure = "throughput" if better == "more" else "wall"
    return Measurement(
        row=9,
        work=work,
        measure=measure,
        unit=unit,
        better=better,
        series=series,
        comparisons=compare(series, None, kind="itself"),
    )


ROWS: Final[dict[int, Callable[[Bench], Iterator[Measurement]]]] = {
    1: fetch,
    2: list_cpu,
    3: list_far,
    4: merge,
    5: merge_more,
    6: stream,
    7: crowd,
    8: imports,
    9: serve,
}

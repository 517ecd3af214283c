"""The benchmark's command line: `nox -s bench` runs it.

    python -m benchmarks [--rows 1,4] [--rounds 5] [--quick] [--prism PATH] [--output FOLDER]

It prints the table of goals with what was measured. A run of all rows also writes `results.json`
and `results.svg` beside this file, and the table into the README; any other writes the first two
into `--output`, if given. The exit status is 0 whether goals are met or not, and 1 if something
broke.
"""

import argparse
import json
import os
import platform
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from . import report
from .figures import Measurement, Results
from .harness import Bench, Broken, ask, cores, first_line, is_installed, server_process
from .peers import LIST
from .rows import ROWS

TAKE_PART = ("aiohttp", "attrs", "cattrs", "httpx", "msgspec", "orjson", "twilio", "yarl")


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks", description="Measure, and compare.")
    parser.add_argument("--rows", type=_rows, default=list(ROWS), help="such as 1,4")
    parser.add_argument("--rounds", type=int, help="instead of as many as suit each row")
    parser.add_argument("--quick", action="store_true", help="little, once: does it run?")
    parser.add_argument("--prism", help="the command that starts Prism")
    parser.add_argument("--output", type=Path, help="a folder for results.json and results.svg")
    arguments = parser.parse_args()
    machine = _machine()
    if arguments.rounds is not None and arguments.rounds < 1:
        parser.error("--rounds: expected 1 or more")
    measurements: list[Measurement] = []
    broken: dict[int, str] = {}
    with server_process(sys.executable, "-m", "benchmarks.server") as server:
        url = first_line(server)
        bench = Bench(url, _sids(url), arguments.rounds, arguments.quick, arguments.prism)
        for row in arguments.rows:
            started = time.monotonic()
            try:
                measurements += ROWS[row](bench)
            except Broken as error:
                broken[row] = str(error)
            took = time.monotonic() - started
            print(f"row {row}: {took:.0f} s", file=sys.stderr, flush=True)
    results = Results(
        date=datetime.now(UTC).date().isoformat(),
        machine=machine,
        versions=_versions(arguments.prism),
        measurements=measurements,
        quick=arguments.quick,
    )
    print(report.table(results))
    for line in report.remarks(results):
        print(line)
    for row, why in broken.items():
        print(f"Row {row} broke: {why}")
    everything = sorted(set(arguments.rows)) == sorted(ROWS) and not (arguments.quick or broken)
    if everything:
        report.write(results)
    elif arguments.output is not None:
        report.save(results, arguments.output)
    return 1 if broken else 0


def _rows(text: str) -> list[int]:
    rows = [int(number) for number in text.split(",")]
    for row in rows:
        if row not in ROWS:
            raise argparse.ArgumentTypeError(f"no row {row}; there are {', '.join(map(str, ROWS))}")
    return rows


def _sids(url: str) -> list[str]:
    page = ask(url, f"{LIST}?PageSize=1000")
    return [one["sid"] for one in page["installed_add_ons"]]


def _machine() -> dict[str, str]:
    server, client = cores()
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        model = next(
            (line.split(": ")[1] for line in lines if line.startswith("model name")), model
        )
    return {
        "processor": model,
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.release()}",
        "placing": "server and clients on cores of their own"
        if server != client
        else "server and clients on one core",
        "load": f"{os.getloadavg()[0]:.2f}",
    }


def _versions(prism: str | None) -> dict[str, str]:
    versions = {"Python": platform.python_version()}
    versions |= {package: version(package) for package in TAKE_PART if is_installed(package)}
    if prism is not None:
        manifest = Path(prism).parent / "../@stoplight/prism-cli/package.json"
        if manifest.exists():
            versions["Prism"] = json.loads(manifest.read_bytes())["version"]
    return versions


if __name__ == "__main__":
    sys.exit(main())

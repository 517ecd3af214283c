"""The command line of the benchmarks. `nox -s bench` calls it.

    python -m benchmarks [--rows 1,4] [--rounds 5] [--quick] [--profile] [--prism PATH]
        [--output FOLDER]

Prints a table of results and goals. A complete run also updates `results.json` and
the documentation with its chart. A partial run writes `results.json` and `results.svg` to
`--output`, if set. Exits with 1 if a benchmark failed; missed goals do not count as failures. With
`--profile`, each client runs once, and a table of the functions that use the most CPU time takes
the place of the results.
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
from .harness import Bench, BenchmarkFailed, Server, cores, is_installed
from .profiling import Profile
from .results import Measurement, Results
from .suite import ROWS

PACKAGES = (
    *("aiohttp", "aiosonic", "attrs", "cattrs", "httpx", "msgspec", "orjson", "pyreqwest"),
    *("twilio", "uvloop", "yarl"),
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks", description="Run the benchmarks.")
    parser.add_argument(
        "--rows", type=_rows, default=list(ROWS), help="comma-separated rows, such as 1,4"
    )
    parser.add_argument("--rounds", type=int, help="rounds per row (default: depends on the row)")
    parser.add_argument(
        "--quick", action="store_true", help="one short round, to test that everything runs"
    )
    parser.add_argument(
        "--profile", action="store_true", help="one round, and where its CPU time goes"
    )
    parser.add_argument("--prism", help="path of the Prism executable")
    parser.add_argument("--output", type=Path, help="folder for results.json and results.svg")
    arguments = parser.parse_args()
    machine = _machine()
    if arguments.rounds is not None and arguments.rounds < 1:
        parser.error("--rounds: must be at least 1")
    measurements: list[Measurement] = []
    failures: dict[int, str] = {}
    with Server.start() as server:
        profiles: list[Profile] | None = [] if arguments.profile else None
        bench = Bench(server, arguments.rounds, arguments.quick, arguments.prism, profiles)
        for row in arguments.rows:
            started = time.monotonic()
            try:
                measurements += ROWS[row](bench)
            except BenchmarkFailed as error:
                failures[row] = str(error)
            elapsed = time.monotonic() - started
            print(f"row {row}: {elapsed:.0f} s", file=sys.stderr, flush=True)
    if profiles is not None:
        print("\n\n".join(profile.table() for profile in profiles))
        return 1 if failures else 0
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
    for row, why in failures.items():
        print(f"Row {row} failed: {why}")
    complete = sorted(set(arguments.rows)) == sorted(ROWS) and not (arguments.quick or failures)
    if complete:
        report.write(results)
    elif arguments.output is not None:
        report.save(results, arguments.output)
    return 1 if failures else 0


def _rows(text: str) -> list[int]:
    rows = [int(number) for number in text.split(",")]
    for row in rows:
        if row not in ROWS:
            raise argparse.ArgumentTypeError(
                f"no row {row}; the rows are {', '.join(map(str, ROWS))}"
            )
    return rows


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
        "placement": "server and clients on separate cores"
        if server != client
        else "server and clients on one core",
        "load": f"{os.getloadavg()[0]:.2f}",
    }


def _versions(prism: str | None) -> dict[str, str]:
    versions = {"Python": platform.python_version()}
    versions |= {package: version(package) for package in PACKAGES if is_installed(package)}
    if prism is not None:
        manifest = Path(prism).parent / "../@stoplight/prism-cli/package.json"
        if manifest.exists():
            versions["Prism"] = json.loads(manifest.read_bytes())["version"]
    return versions


if __name__ == "__main__":
    sys.exit(main())

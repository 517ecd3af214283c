"""A sampling profiler of CPU time, for rows that miss their goal.

`python -m benchmarks --rows 1 --profile` runs each client of the row once and prints the functions
that use the most time. A sample counts for the innermost Python function, so that the time of a
system call counts for the function that makes it.
"""

import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Final

import attrs

# Linux counts CPU time in ticks of 1 to 10 ms. A shorter interval gives no more samples.
INTERVAL: Final = 0.001

Samples = dict[str, float]


@contextmanager
def profiled(samples: Samples) -> Iterator[None]:
    """Sample the block, and fill `samples` with the share of each function, from 0 to 1."""
    counts: Counter[CodeType] = Counter()

    def count(_: int, frame: FrameType | None) -> None:
        if frame is not None:
            counts[frame.f_code] += 1

    before = signal.signal(signal.SIGPROF, count)
    signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    total = counts.total()
    for code, number in counts.items():
        name = _name(code)
        samples[name] = samples.get(name, 0) + number / total


def _name(code: CodeType) -> str:
    """Return the short path of a function's module, and its name."""
    path = Path(code.co_filename)
    for folder in sorted(sys.path, key=len, reverse=True):
        if folder and path.is_relative_to(folder):
            path = path.relative_to(folder)
            break
    return f"{path}: {code.co_qualname}"


@attrs.frozen
class Profile:
    """Where one client spent its CPU time.

    Attributes:
        work: The workload.
        client: The client, as in `clients.py`.
        cpu: The CPU time in seconds.
        responses: The number of responses.
        shares: The share of each function, from 0 to 1.
    """

    work: str
    client: str
    cpu: float
    responses: float
    shares: Samples

    def table(self, rows: int = 25) -> str:
        """Return the packages and functions that use the most time, in µs per response."""
        each = self.cpu / self.responses * 1e6

        def lines(shares: Samples, count: int) -> list[str]:
            most = sorted(shares.items(), key=lambda item: -item[1])
            rest = ("all others", sum(share for _, share in most[count:]))
            shown = [*most[:count], rest]
            return [f"{share * each:10.2f}  {share:6.1%}  {name}" for name, share in shown]

        packages: Samples = {}
        for name, share in self.shares.items():
            package = name.split(":", 1)[0].split("/", 1)[0].removesuffix(".py")
            packages[package] = packages.get(package, 0) + share
        title = f"{self.work}, {self.client}: {each:.1f} µs per response"
        return "\n".join([title, *lines(packages, 6), "", *lines(self.shares, rows)])

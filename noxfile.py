"""Sessions: `nox -s` with demo, tests, lint, typing, bench, or reliability for the long proofs."""

import shutil
from pathlib import Path

import nox

nox.options.sessions = ["lint", "typing", "tests"]
nox.options.reuse_existing_virtualenvs = True

TESTS = [
    "blockbuster",
    "coverage[toml]",
    "hypothesis",
    "mypy",
    "pytest",
    "pytest-asyncio",
    "schemathesis",
    "twilio",
]
PEERS = ["httpx", "orjson", "twilio"]
SUPPORTED = ["3.11", "3.12", "3.13", "3.14", "3.15"]


@nox.session
def demo(session: nox.Session) -> None:
    """Show what the client does, against an emulator."""
    session.install(".[cli,emulator]")
    session.run("marketplace-async", "demo", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run all tests, with coverage, in Python's development mode, warnings being errors."""
    session.install("-e", ".[cli,emulator]", *TESTS)
    session.run("coverage", "erase")
    session.run(
        *("python", "-W", "error", "-m", "coverage", "run", "-m", "pytest"),
        *session.posargs,
        env={"PYTHONDEVMODE": "1"},
    )
    session.run("coverage", "combine", silent=True, success_codes=[0, 1])
    if not session.posargs:
        session.run("coverage", "report")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and the direction of imports."""
    session.install("ruff")
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")


@nox.session
def typing(session: nox.Session) -> None:
    """Check types with mypy, for every Python that is supported, and with pyright."""
    session.install("-e", ".[cli,emulator]", "mypy", "pyright", "nox", *TESTS, *PEERS)
    for version in SUPPORTED:
        session.run("mypy", "--python-version", version)
    session.run("pyright", "--pythonpath", f"{session.virtualenv.location}/bin/python")


@nox.session
def reliability(session: nox.Session) -> None:
    """Run every operation against every fault, and the long proofs: some 15 minutes."""
    session.install("-e", ".[cli]", *TESTS)
    session.run("pytest", "tests/reliability/test_safety.py")
    session.run("python", "tests/reliability/proofs.py", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure the client and the emulator beside their peers: some ten minutes, writes results."""
    session.install("-e", ".[cli]", *PEERS)
    folder = Path(session.create_tmp()).resolve()
    prism = folder / "node_modules" / ".bin" / "prism"
    if not prism.exists() and shutil.which("npm"):
        session.run(
            *("npm", "install", "--no-fund", "--no-audit", "--loglevel", "error"),
            *("--prefix", str(folder), "@stoplight/prism-cli"),
            external=True,
            success_codes=range(256),  # without Prism, the rows that need it say so
        )
    arguments = ["--prism", str(prism)] if prism.exists() else []
    session.run("python", "-m", "benchmarks", *arguments, *session.posargs)

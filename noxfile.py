"""Nox sessions. `nox` runs lint, typing and tests; `nox --list` shows all sessions."""

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
    """Run the demo against an emulator."""
    session.install(".[cli,emulator]")
    session.run("marketplace-async", "demo", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run all tests with coverage, in development mode and with warnings as errors."""
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
    """Check formatting and style."""
    session.install("ruff")
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")


@nox.session
def typing(session: nox.Session) -> None:
    """Check types with mypy for every supported Python version, and with pyright."""
    session.install("-e", ".[cli,emulator]", "mypy", "pyright", "nox", *TESTS, *PEERS)
    for version in SUPPORTED:
        session.run("mypy", "--python-version", version)
    python = f"{session.virtualenv.location}/bin/python"
    session.run("pyright", "--pythonpath", python)
    session.run(
        *("pyright", "--verifytypes", "marketplace_async", "--ignoreexternal"),
        *("--pythonpath", python),
    )


@nox.session
def api(session: nox.Session) -> None:
    """List incompatible changes of the public API since the last commit, or `-- COMMIT`."""
    session.install("griffe")
    commit = session.posargs[0] if session.posargs else "HEAD"
    changes = session.run(
        *("griffe", "check", "marketplace_async", "--against", commit),
        silent=True,
        success_codes=[0, 1],  # 1: there are changes
    )
    for change in str(changes or "").splitlines():
        if not change.startswith("marketplace_async/cli/"):
            session.warn(change)


@nox.session
def reliability(session: nox.Session) -> None:
    """Test every operation under every fault, then run the long proofs (about 15 minutes)."""
    session.install("-e", ".[cli]", *TESTS)
    session.run("pytest", "tests/reliability/test_safety.py")
    session.run("python", "tests/reliability/proofs.py", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Run the benchmarks and save the results (about ten minutes)."""
    session.install("-e", ".[cli]", *PEERS)
    folder = Path(session.create_tmp()).resolve()
    prism = folder / "node_modules" / ".bin" / "prism"
    if not prism.exists() and shutil.which("npm"):
        session.run(
            *("npm", "install", "--no-fund", "--no-audit", "--loglevel", "error"),
            *("--prefix", str(folder), "@stoplight/prism-cli"),
            external=True,
            success_codes=range(256),  # Prism is optional
        )
    arguments = ["--prism", str(prism)] if prism.exists() else []
    session.run("python", "-m", "benchmarks", *arguments, *session.posargs)

"""Nox sessions. `nox` runs lint, typing and tests; `nox --list` shows all sessions."""

import os
import shutil
import subprocess
import tomllib
from itertools import product
from pathlib import Path

import nox
from nox.command import CommandFailed

nox.options.sessions = ["lint", "typing", "tests"]
nox.options.reuse_existing_virtualenvs = True

_GROUPS = tomllib.loads(Path("pyproject.toml").read_text())["dependency-groups"]
TESTS: list[str] = _GROUPS["tests"]
# What the recipes of the documentation run on. Without one, its test is skipped.
RECIPES = [
    "awslambdaric",
    "distributed",
    "django",
    "fastapi",
    "ipykernel",
    "litestar",
    "nbclient",
    "orjson",
    "pandas",
    "polars",
    "pyzmq",
    "quart",
    "starlette",
    "taskiq",
    "uvicorn",
]
# What builds the documentation.
DOCS: list[str] = _GROUPS["docs"]
PEERS = ["httpx", "orjson", "twilio"]
# Where one of these has no wheel, the benchmarks that need it are skipped.
OPTIONAL_PEERS = ["aiosonic", "pyreqwest", "trustme", "uvloop"]
# Many tests wait: two processes leave a third of two cores idle.
PROCESSES = str(max(3, os.cpu_count() or 1))

# The versions to look for. `pyproject.toml` and the README list those that `matrix` has run on.
SUPPORTED = ["3.11", "3.12", "3.13", "3.14", "3.15"]


def install_optional(session: nox.Session, packages: list[str]) -> None:
    """Install those packages that have a wheel for this Python."""
    for package in packages:
        session.install("--only-binary", ":all:", package, success_codes=range(256))


@nox.session
def demo(session: nox.Session) -> None:
    """Run the demo against an emulator."""
    session.install(".[cli,emulator]")
    session.run("marketplace-async", "demo", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run all tests, with warnings as errors."""
    _install_for_tests(session)
    session.run("python", "-W", "error", "-m", "pytest", "-n", PROCESSES, *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Run all tests, and measure how much of the package they run: at least 95 %."""
    _install_for_tests(session)
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", "-n", PROCESSES, *session.posargs)
    session.run("coverage", "combine", silent=True, success_codes=[0, 1])
    if not session.posargs:
        session.run("coverage", "report")


def _install_for_tests(session: nox.Session) -> None:
    session.install("-e", ".[cli,emulator]", *TESTS)
    install_optional(session, RECIPES)


def found() -> list[str]:
    """Return every CPython on this machine that the package supports, the oldest first."""
    return [python for version in SUPPORTED if (python := _path_of(version)) is not None]


def _path_of(version: str) -> str | None:
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = sorted(map(str, pyenv.glob(f"{version}.*/bin/python{version}")), reverse=True)
    on_path = shutil.which(f"python{version}")
    check = "import sys; sys.exit(sys.implementation.name != 'cpython')"
    for python in [*candidates, *([on_path] if on_path else [])]:
        if subprocess.run([python, "-c", check], check=False, capture_output=True).returncode == 0:
            return python
    return None


# Tests that start programs, or that send nothing: they neither choose a loop nor a way to send.
SAME_IN_ALL_COMBINATIONS = [
    *("cli", "docs", "examples", "witness", "core/test_serializable.py"),
    *("test_architecture.py", "test_frameworks.py", "test_serialization.py"),
]


@nox.session(python=found())
def matrix(session: nox.Session) -> None:
    """Run all tests on every CPython found, over both ways to send, with asyncio and uvloop."""
    session.install("-e", ".[cli,emulator,dask]", *TESTS, "uvloop")
    failed = []
    ignored = [f"--ignore=tests/{name}" for name in SAME_IN_ALL_COMBINATIONS]
    for exchange, loop in product(["direct", "aiohttp"], ["asyncio", "uvloop"]):
        combination = f"sent by {exchange}, on {loop}"
        session.log(combination)
        is_first = (exchange, loop) == ("direct", "asyncio")
        try:
            session.run(
                *("pytest", "-n", PROCESSES, *([] if is_first else ignored), *session.posargs),
                env={"MARKETPLACE_TEST_EXCHANGE": exchange, "MARKETPLACE_TEST_LOOP": loop},
            )
        except CommandFailed:  # the other combinations run as well
            failed.append(combination)
    if failed:
        session.error(f"failed: {'; '.join(failed)}")


@nox.session
@nox.parametrize("versions", ["lowest", "newest"])
def floors(session: nox.Session, versions: str) -> None:
    """Run all tests with the lowest versions that the package allows, and with the newest."""
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    allowed = [*project["dependencies"], *extras["cli"], *extras["emulator"], *extras["dask"]]
    if versions == "lowest":
        allowed = sorted({each.replace(">=", "==") for each in allowed})
    session.install("--upgrade", "-e", ".[cli,emulator,dask]", *TESTS, *allowed)
    session.run("pip", "list")
    session.run("pytest", "-n", PROCESSES, *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check formatting and style."""
    session.install("ruff")
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")


@nox.session
def typing(session: nox.Session) -> None:
    """Check types with mypy for every supported Python version, and with pyright."""
    session.install(
        "-e", ".[cli,emulator]", "mypy", "pyright", "nox", "types-pyyaml", *TESTS, *PEERS
    )
    install_optional(session, RECIPES)
    for version in SUPPORTED:
        session.run("mypy", "--python-version", version)
    python = f"{session.virtualenv.location}/bin/python"
    session.run("pyright", "--pythonpath", python)
    session.run(
        *("pyright", "--verifytypes", "marketplace_async", "--ignoreexternal"),
        *("--pythonpath", python),
    )


@nox.session
def pictures(session: nox.Session) -> None:
    """Make the pictures in docs/images: pages, the emulator's page, a terminal. Needs chromium."""
    session.install("-e", ".[cli,emulator]", "playwright")
    session.run("python", "-m", "pictures", *session.posargs, env={"PYTHONPATH": "tests"})


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
    """Test every operation under every fault, then run the long proofs (about half an hour)."""
    session.install("-e", ".[cli]", *TESTS)
    session.run("pytest", "tests/reliability/test_safety.py")
    session.run(
        *("pytest", "tests/core/test_plain_responses.py"),
        env={"MARKETPLACE_DIFFERENTIAL_CASES": "100000"},
    )
    session.run(
        *("python", "-m", "reliability.proofs", *session.posargs), env={"PYTHONPATH": "tests"}
    )


@nox.session
def cluster(session: nox.Session) -> None:
    """Disturb jobs on a real Dask cluster in every way that we know (about ten minutes)."""
    session.install("-e", ".[cli,dask]", *TESTS)
    session.run(
        *("python", "-m", "reliability.cluster_proofs", *session.posargs),
        env={"PYTHONPATH": "tests"},
    )


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation into `site/`, and search it. Warnings and broken links are errors."""
    session.install("-e", ".[cli,emulator]", *DOCS, "playwright", "pytest")
    session.run("python", "-m", "docs.generators.reference")
    session.run("python", "-m", "docs.generators.rooms")
    session.run("mkdocs", "build", "--strict", *session.posargs)
    # The configuration of the other tests needs their plugins.
    session.run(
        *("pytest", "-c", os.devnull, "--rootdir", ".", "-ra", "--noconftest"),
        "tests/docs/test_built_site.py",
        env={"PYTHONPATH": "tests"},
    )


@nox.session
def package(session: nox.Session) -> None:
    """Build the wheel and the sdist, and check what a package index would show of them."""
    session.install("build", "twine")
    dist = Path(session.create_tmp()).resolve() / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(dist))
    session.run("twine", "check", "--strict", *map(str, sorted(dist.iterdir())))


@nox.session
def prism(session: nox.Session) -> None:
    """Run every operation against Prism, which invents responses that the description allows."""
    path = _prism(session)
    if path is None:
        session.skip("Prism could not be installed; it needs npm")
    session.install("-e", ".[cli,emulator]", *TESTS)
    session.run("pytest", "tests/contract/test_prism.py", env={"MARKETPLACE_PRISM": str(path)})


def _prism(session: nox.Session) -> Path | None:
    """Install Prism into the temporary folder of the session. Return its path if it is there."""
    folder = Path(session.create_tmp()).resolve()
    prism = folder / "node_modules" / ".bin" / "prism"
    if not prism.exists() and shutil.which("npm"):
        session.run(
            *("npm", "install", "--no-fund", "--no-audit", "--loglevel", "error"),
            *("--prefix", str(folder), "@stoplight/prism-cli"),
            external=True,
            success_codes=range(256),  # Prism is optional
        )
    return prism if prism.exists() else None


@nox.session
def bench(session: nox.Session) -> None:
    """Run the benchmarks and save the results (about 15 minutes)."""
    session.install("-e", ".[cli]", *PEERS)
    install_optional(session, OPTIONAL_PEERS)
    prism = _prism(session)
    arguments = [] if prism is None else ["--prism", str(prism)]
    session.run("python", "-m", "benchmarks", *arguments, *session.posargs)

"""The structure of the package: its public names, its imports, and its types."""

import ast
import inspect
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from support.paths import PROJECT

import marketplace_async
from marketplace_async import fleet

PACKAGE = PROJECT / "marketplace_async"
FRONT_PAGE = "the front page"

# A room is a file or folder at the top level of the package; each file of `_core` is one, too.
# A room imports only from the rooms named here, and from itself.
ROOMS: dict[str, set[str]] = {
    "_version": set(),
    "_core.arguments": set(),
    "_core.deadlines": set(),
    "_core.threads": set(),
    "_core.messages": set(),
    "errors": {"_core.messages"},
    "credentials": {"_core.arguments", "errors"},
    "retry": {"_core.arguments", "errors"},
    "_core.tasks": {"errors"},
    "_core.limiter": {"_core.messages", "errors"},
    "_core.codec": {"_core.arguments", "_core.messages", "errors"},
    "_core.schema": {"_core.codec", "errors"},
    "_core.operation": {"_core.messages", "errors", "retry"},
    "_core.pagination": {
        *("_core.arguments", "_core.messages", "_core.operation", "_core.tasks", "errors"),
    },
    "_core.session": {
        *("_core.arguments", "_core.deadlines", "_core.messages", "_version"),
        *("credentials", "errors"),
    },
    "_core.oauth": {
        *("_core.codec", "_core.messages", "_core.operation", "_core.tasks"),
        *("credentials", "errors"),
    },
    "_core.pipeline": {
        *("_core.codec", "_core.limiter", "_core.messages", "_core.oauth", "_core.operation"),
        *("_core.tasks", "credentials", "errors", "retry"),
    },
    "resources": {
        *("_core.arguments", "_core.codec", "_core.messages", "_core.operation"),
        *("_core.pagination", "_core.schema", "errors", "retry"),
    },
    "accounts": {
        *("_core.arguments", "_core.codec", "_core.messages", "_core.operation"),
        *("_core.pagination", "credentials", "errors"),
    },
    "bulk": {"_core.arguments", "_core.messages", "_core.pagination", "_core.tasks", "errors"},
    "client": {
        *("_core.arguments", "_core.limiter", "_core.messages", "_core.oauth", "_core.operation"),
        *("_core.pipeline", "_core.session", "_core.tasks", "accounts", "credentials", "errors"),
        *("resources", "retry"),
    },
    "emulator": {"errors"},
    "testing": {"client", "credentials", "emulator", "errors"},
    "fleet": {
        *("_core.arguments", "_core.codec", "_core.limiter", "_core.threads"),
        *("accounts", "bulk", "client", "credentials", "errors", "resources", "retry"),
    },
    "cli": {
        *("_core.arguments", "_core.codec", "_core.threads", "_version"),
        *("accounts", "bulk", "client"),
        *("credentials", "emulator", "errors", "fleet", "resources", "testing", FRONT_PAGE),
    },
    "__main__": {"cli"},
}
THIRD_PARTIES = {
    "_core.arguments": {"yarl"},
    "_core.codec": {"cattrs", "msgspec"},
    "_core.deadlines": {"attrs"},
    "_core.limiter": {"attrs"},
    "_core.messages": {"attrs", "multidict"},
    "_core.oauth": {"attrs"},
    "_core.pagination": {"attrs", "yarl"},
    "_core.schema": {"jsonschema_rs"},
    "_core.session": {"aiohttp", "attrs", "yarl"},
    "accounts": {"attrs"},
    "bulk": {"attrs"},
    "cli": {"attrs", "cyclopts", "msgspec", "platformdirs", "rich", "tomlkit"},
    "client": {"aiohttp", "attrs", "yarl"},  # aiohttp for types only
    "credentials": {"attrs"},
    "emulator": {"aiohttp", "attrs", "jsonschema_rs", "msgspec", "multidict"},
    "errors": {"attrs"},
    "fleet": {"attrs", "msgspec"},
    "resources": {"attrs"},
    "retry": {"attrs"},
    "testing": {"pytest", "pytest_asyncio"},
}

FILES = sorted(PACKAGE.rglob("*.py"))


def module_of(file: Path) -> str:
    """Return the name of the module that a file is, such as `marketplace_async._core.codec`."""
    name = ".".join(file.relative_to(PROJECT).with_suffix("").parts)
    return name.removesuffix(".__init__")


MODULES = {module_of(file): file for file in FILES}


def imports(file: Path) -> set[str]:
    """Return the modules that a file imports, anywhere in it, `TYPE_CHECKING` included."""
    package = module_of(file).split(".")
    if file.name != "__init__.py":
        package.pop()
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        match node:
            case ast.Import():
                found.update(alias.name for alias in node.names)
            case ast.ImportFrom(level=0, module=str(module)):
                found.add(module)
            case ast.ImportFrom():
                base = package[: len(package) - node.level + 1]
                module = ".".join([*base, *([node.module] if node.module else [])])
                for alias in node.names:
                    whole = f"{module}.{alias.name}"
                    found.add(whole if whole in MODULES else module)
    return found


def room_of(module: str) -> str:
    """Return the room that a module is in; `FRONT_PAGE` for the package itself."""
    _, *parts = module.split(".")
    if not parts:
        return FRONT_PAGE
    return ".".join(parts[:2]) if parts[0] == "_core" else parts[0]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_room_imports_only_what_it_may(file: Path) -> None:
    room = room_of(module_of(file))
    if room in (FRONT_PAGE, "_core"):
        return
    for module in imports(file):
        if module.split(".")[0] == "marketplace_async":
            other = room_of(module)
            assert other == room or other in ROOMS[room], f"{room} imports {other}"
        elif (name := module.split(".")[0]) not in sys.stdlib_module_names:
            assert name in THIRD_PARTIES.get(room, set()), f"{room} imports {name}"


def test_no_file_imports_itself_through_others() -> None:
    graph = TopologicalSorter(
        {name: imports(file) & MODULES.keys() - {name} for name, file in MODULES.items()}
    )
    graph.prepare()


def test_core_imports_nothing_above_it_but_errors_credentials_and_retry() -> None:
    above = {"errors", "credentials", "retry", "_version"}
    for room, others in ROOMS.items():
        if room.startswith("_core."):
            assert {one for one in others if not one.startswith("_core.")} <= above, room


def test_no_module_of_fleet_has_the_name_of_a_public_function() -> None:
    modules = {module.rpartition(".")[2] for module in MODULES if ".fleet." in module}
    functions = {name for name in fleet.__all__ if inspect.isfunction(getattr(fleet, name))}
    assert not modules & functions


def test_every_room_has_its_place() -> None:
    rooms = {room_of(module) for module in MODULES} - {FRONT_PAGE, "_core"}
    assert rooms == ROOMS.keys()


def test_the_front_page_shows_its_sorted_public_names() -> None:
    public = {
        name
        for name, value in vars(marketplace_async).items()
        if not name.startswith("_") and not isinstance(value, type(sys))
    }
    assert set(marketplace_async.__all__) == public | {"__version__"}
    assert marketplace_async.__all__ == sorted(marketplace_async.__all__)


def test_public_names_have_docstrings() -> None:
    for name in marketplace_async.__all__:
        value = getattr(marketplace_async, name)
        if isinstance(value, type) or callable(value):
            assert value.__doc__, name
            for method, function in vars(value).items():
                if not method.startswith("_") and callable(function):
                    assert function.__doc__, f"{name}.{method}"


def test_importing_it_imports_no_extra_and_starts_nothing() -> None:
    program = (
        "import sys, threading\n"
        "before = set(sys.modules)\n"
        "import marketplace_async\n"
        "late = {'cyclopts', 'rich', 'jsonschema_rs', 'sqlite3', 'aiohttp.web'}\n"
        "assert not late & (sys.modules.keys() - before)\n"
        "assert threading.active_count() == 1\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_call_sites_of_users_have_the_types_they_expect() -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "tests/call_sites.py"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr

"""The shape of the package: what its front page shows, who imports whom, and its types."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PROJECT

import marketplace_async

PACKAGE = PROJECT / "marketplace_async"

# A room may import from the rows below its own; some from fewer, as `ALLOWED` says.
ROOMS = [
    ["__main__"],
    ["cli"],
    ["testing", "fleet"],
    ["emulator"],
    ["client", "bulk"],
    ["_stack"],
    ["resources", "accounts", "_session"],
    ["_paging", "_schema", "_oauth", "_limits"],
    ["_codec", "_read", "_tasks", "_deadlines"],
    ["credentials", "retry"],
    ["errors"],
    ["_wire", "_version"],
]
ALLOWED = {
    "fleet": {
        *("bulk", "client", "accounts", "resources", "credentials", "retry", "errors"),
        *("_codec", "_limits", "_schema", "_tasks", "_wire"),
    },
    "emulator": {"errors"},
    "bulk": {"_paging", "_tasks", "_wire", "errors"},
    "resources": {"_paging", "_codec", "_read", "_schema", "_wire", "errors", "retry"},
    "_session": {"errors", "credentials", "_deadlines", "_wire", "_version"},
    "accounts": {"_paging", "_codec", "_read", "_wire", "credentials", "errors"},
    "retry": {"errors", "_wire"},
    "credentials": {"errors", "_wire"},
    "_limits": {"errors", "_wire"},
    "_tasks": {"errors"},
    "_deadlines": set(),
    "_wire": set(),
}
THIRD_PARTIES = {
    "_wire": {"attrs", "multidict", "yarl"},
    "_codec": {"cattrs", "msgspec"},
    "_paging": {"attrs", "yarl"},
    "_session": {"aiohttp", "attrs", "yarl"},
    "client": {"attrs", "yarl"},
    "_oauth": {"attrs"},
    "_deadlines": {"attrs"},
    "_limits": {"attrs"},
    "bulk": {"attrs"},
    "fleet": {"attrs", "msgspec"},
    "_schema": {"attrs", "jsonschema_rs"},
    "accounts": {"attrs"},
    "credentials": {"attrs"},
    "retry": {"attrs"},
    "resources": {"attrs"},
    "emulator": {"aiohttp", "attrs", "jsonschema_rs", "msgspec", "multidict"},
    "testing": {"pytest", "pytest_asyncio"},
    "cli": {"attrs", "cyclopts", "msgspec", "platformdirs", "rich", "tomlkit"},
}


def imports(file: Path) -> set[tuple[str, bool]]:
    """Return what a file imports, outside of `TYPE_CHECKING`: names, and whether they are ours."""
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    found: set[tuple[str, bool]] = set()

    def visit(node: ast.AST) -> None:
        match node:
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                return
            case ast.Import():
                found.update((alias.name.split(".")[0], False) for alias in node.names)
            case ast.ImportFrom(level=0, module=str(module)):
                found.add((module.split(".")[0], False))
            case ast.ImportFrom():
                base = parts[: len(parts) - node.level]
                if node.module is not None:
                    found.add(((*base, *node.module.split("."))[0], True))
                elif base:
                    found.add((base[0], True))
                else:
                    found.update((alias.name, True) for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(file.read_text()))
    return found


FILES = sorted(PACKAGE.rglob("*.py"))
LEVEL = {room: level for level, row in enumerate(ROOMS) for room in row}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_point_down_and_third_parties_stay_where_they_belong(file: Path) -> None:
    room = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if room == "__init__":
        return
    for name, ours in imports(file):
        if ours and name == room:
            continue
        if ours and name not in LEVEL:
            # The front page, which only what stands above the client may use.
            assert LEVEL[room] < LEVEL["client"], f"{room} imports {name}"
        elif ours:
            assert LEVEL[name] > LEVEL[room], f"{room} imports {name}"
            assert name in ALLOWED.get(room, {name}), f"{room} imports {name}"
        else:
            standard = name in sys.stdlib_module_names
            assert standard or name in THIRD_PARTIES.get(room, set()), f"{room} imports {name}"


def test_every_room_has_its_place() -> None:
    rooms = {file.relative_to(PACKAGE).parts[0].removesuffix(".py") for file in FILES}
    assert rooms - {"__init__"} == LEVEL.keys()


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

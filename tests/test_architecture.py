"""The structure of the package: its imports, its public names, and its types."""

import ast
import inspect
import pickle
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from graphlib import TopologicalSorter
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import attrs
import msgspec
import pytest
from cattrs.preconf.msgspec import make_converter
from support.paths import PROJECT

import marketplace_async
from marketplace_async import (
    Account,
    AccountStats,
    AccountToken,
    ApiKey,
    AvailableAddOn,
    AvailableAddOnExtension,
    BillableItem,
    ClientCredentials,
    ConfigurationIssue,
    Ensured,
    Environment,
    Exchange,
    InstalledAddOn,
    InstalledAddOnExtension,
    Listing,
    Page,
    ReferralConversion,
    ReportedItem,
    Request,
    Response,
    Retry,
    Stats,
    Timeout,
    UsageReport,
    _public,
    bulk,
    fleet,
    observe,
)

PACKAGE = PROJECT / "marketplace_async"
FRONT_PAGE = "the front page"

# A room is a file or folder at the top level of the package, or a file of `_core`. A room imports
# only from itself and from the rooms listed here.
ROOMS: dict[str, set[str]] = {
    "_version": set(),
    "_core.arguments": set(),
    "_core.clocks": set(),
    "_core.deadlines": set(),
    "_core.exits": set(),
    "_core.files": {"_core.clocks"},
    "_core.databases": {"_core.files"},
    "_core.threads": set(),
    "_core.frames": set(),
    "_core.masking": set(),
    "_core.messages": {"_core.arguments", "_core.masking"},
    "_core.printable": set(),
    "_core.listeners": set(),
    "observe": set(),
    "_core.logs": {"_core.listeners", "_core.messages", "observe"},
    "_core.outcomes": {"_core.messages", "_core.printable", "errors"},
    "_core.observing": {
        *("_core.clocks", "_core.listeners", "_core.logs", "_core.messages", "_core.outcomes"),
        *("errors", "observe", "retry"),
    },
    "otel": {"_version", "errors", "observe"},
    "errors": {"_core.messages", "_core.printable", "_core.records"},
    "credentials": {"_core.arguments", "_core.frames", "errors"},
    "retry": {"_core.arguments", "errors"},
    "_core.tasks": {"errors"},
    "_core.adaptive": set(),
    "_core.loops": {"errors"},
    "_core.limiter": {"_core.adaptive", "_core.clocks", "_core.loops", "_core.messages"},
    "_core.quota": {"_core.limiter", "errors"},
    "_core.plain_heads": set(),
    "_core.bodies": {"_core.messages"},
    "_core.connection": {"_core.bodies", "_core.clocks", "_core.messages", "_core.plain_heads"},
    "_core.network": {"_core.arguments"},
    "_core.failures": {"_core.connection", "_core.network"},
    "_core.pool": {"_core.connection", "_core.loops", "errors"},
    "_core.hooks": {"_core.messages", "errors"},
    "_core.watched": {"_core.connection", "_core.messages"},
    "_core.records": set(),
    "_core.lenient": {"_core.records"},
    "_core.documents": set(),
    "_core.unstructuring": {
        *("_core.arguments", "_core.documents", "_core.records", "credentials", "errors"),
    },
    "_core.structuring": {
        *("_core.arguments", "_core.documents", "_core.lenient", "_core.records"),
        "_core.unstructuring",
    },
    "_core.converter": {
        *("_core.documents", "_core.lenient", "_core.structuring", "_core.unstructuring"),
    },
    "_core.serializable": {
        *("_core.converter", "_core.documents", "_core.records", "_core.unstructuring"),
    },
    "_core.codec": {
        *("_core.arguments", "_core.converter", "_core.lenient", "_core.logs"),
        *("_core.messages", "_core.records", "errors"),
    },
    "_core.expectations": {"_core.codec", "_core.messages", "_core.operation"},
    "_core.error_documents": {"_core.masking", "_core.messages", "errors"},
    "_core.rows": {"_core.codec"},
    "_core.schema": {"_core.codec", "errors"},
    "_core.operation": {"_core.messages", "errors", "retry"},
    "_core.streams": {"_core.tasks"},
    "_core.cursor": {
        *("_core.arguments", "_core.codec", "_core.messages", "_core.operation"),
        *("_core.serializable", "_core.streams", "_core.tasks", "errors"),
    },
    "_core.pagination": {
        *("_core.arguments", "_core.cursor", "_core.messages", "_core.operation"),
        *("_core.streams", "errors"),
    },
    "_core.session": {
        *("_core.arguments", "_core.bodies", "_core.clocks", "_core.connection"),
        "_core.deadlines",
        *(
            "_core.failures",
            "_core.messages",
            "_core.network",
            "_core.pool",
            "_core.watched",
            "_core.hooks",
            "_version",
        ),
        *("credentials", "errors"),
        *("_core.masking", "_core.observing"),
    },
    "_core.oauth": {
        "_core.clocks",
        *("_core.arguments", "_core.codec", "_core.masking", "_core.messages", "_core.operation"),
        *("_core.tasks", "credentials", "errors"),
    },
    "_core.pipeline": {
        "_core.clocks",
        *("_core.error_documents", "_core.limiter", "_core.messages", "_core.oauth"),
        *("_core.masking", "_core.observing"),
        *("_core.operation", "_core.retrying", "credentials", "errors", "retry"),
    },
    "_core.retrying": {
        "_core.clocks",
        *("_core.error_documents", "_core.limiter", "_core.messages", "_core.operation"),
        *("_core.logs", "_core.observing", "_core.quota", "_core.tasks"),
        *("errors", "observe", "retry"),
    },
    "resources": {
        *("_core.arguments", "_core.codec", "_core.cursor", "_core.expectations"),
        "_core.messages",
        *("_core.operation", "_core.pagination", "_core.records", "_core.schema"),
        *("_core.serializable", "errors", "retry"),
    },
    "accounts": {
        "_core.clocks",
        *("_core.arguments", "_core.codec", "_core.cursor", "_core.expectations"),
        "_core.messages",
        *("_core.operation", "_core.pagination", "_core.records", "_core.serializable"),
        *("_core.streams", "_core.threads", "credentials", "errors"),
    },
    "bulk": {
        *("_core.arguments", "_core.cursor", "_core.listeners", "_core.messages"),
        *("_core.pagination", "_core.serializable", "_core.streams", "_core.tasks", "errors"),
    },
    "client": {
        *("_core.arguments", "_core.frames", "_core.limiter", "_core.messages", "_core.oauth"),
        *("_core.network", "_core.operation", "_core.pipeline", "_core.pool", "_core.quota"),
        *("_core.observing", "_core.retrying", "_core.session", "_core.tasks", "accounts"),
        *("credentials", "errors", "observe", "resources", "retry"),
    },
    "serialization": {"_core.converter", "_core.records", "_core.unstructuring"},
    "webhooks": {
        *("_core.codec", "_core.frames", "_core.lenient", "_core.records", "_core.serializable"),
        *("credentials", "errors"),
    },
    # It shares no code about the API with the client.
    "emulator": {"_core.databases", "_core.exits", "_core.files", "_version", "errors"},
    "testing": {
        *("_core.frames", "_core.masking", "_core.messages", "_core.session"),
        *("client", "credentials", "emulator", "errors"),
    },
    "fleet": {
        *("_core.clocks", "_core.converter", "serialization"),
        *("_core.arguments", "_core.codec", "_core.databases", "_core.files", "_core.frames"),
        *("_core.limiter", "_core.listeners", "_core.masking", "_core.pagination"),
        *("_core.printable", "_core.rows", "_core.serializable", "_core.session", "_core.streams"),
        *("_core.tasks", "_core.threads", "_version", "accounts", "bulk", "client", "credentials"),
        *("errors", "resources", "retry"),
    },
    "cli": {
        "_core.clocks",
        *(
            "_core.arguments",
            "_core.codec",
            "_core.exits",
            "_core.files",
            "_core.printable",
            "_core.rows",
        ),
        *("_core.network", "_core.threads", "_version", "accounts", "bulk", "client"),
        *("credentials", "emulator", "errors", "fleet", "resources", "testing", FRONT_PAGE),
    },
    "__main__": {"cli"},
}
THIRD_PARTIES = {
    "_core.arguments": {"yarl"},
    "_core.codec": {"msgspec"},
    "_core.converter": {"cattrs", "msgspec"},
    "_core.databases": {"attrs"},
    "_core.documents": {"cattrs"},
    "_core.serializable": {"attrs", "pydantic_core"},  # pydantic when it asks for a schema
    "_core.structuring": {"attrs", "cattrs", "msgspec"},
    "_core.unstructuring": {"attrs", "cattrs"},
    "_core.deadlines": {"attrs"},
    "_core.bodies": {"aiohttp"},
    "_core.connection": {"aiohttp", "attrs", "yarl"},
    "_core.failures": {"aiohttp"},
    "_core.network": {"attrs", "yarl"},
    "_core.pool": {"aiohttp", "yarl"},
    "_core.watched": {"aiohttp"},
    "_core.limiter": {"attrs"},
    "_core.pipeline": {"attrs"},
    "_core.quota": {"attrs"},
    "_core.messages": {"attrs", "multidict"},
    "_core.oauth": {"attrs"},
    "_core.lenient": {"attrs", "msgspec"},
    "_core.cursor": {"attrs", "msgspec", "yarl"},
    "_core.records": {"attrs", "msgspec"},
    "_core.rows": {"attrs"},
    "_core.schema": {"jsonschema_rs"},
    "_core.session": {"aiohttp", "attrs", "yarl"},
    "accounts": {"attrs", "msgspec"},
    "bulk": {"attrs"},
    "cli": {"attrs", "cyclopts", "msgspec", "platformdirs", "rich", "tomlkit"},
    "client": {"aiohttp", "attrs", "yarl"},  # aiohttp for types only
    "credentials": {"attrs"},
    "emulator": {
        *("aiohttp", "attrs", "jsonschema_rs", "msgspec", "multidict", "trustme", "yarl"),
    },
    "errors": {"attrs"},
    "observe": {"attrs"},
    "otel": {"opentelemetry"},
    "fleet": {"attrs", "distributed", "msgspec"},
    "resources": {"attrs"},
    "retry": {"attrs"},
    "webhooks": {"attrs"},
    "testing": {"pytest"},
}

FILES = sorted(PACKAGE.rglob("*.py"))


def module_of(file: Path) -> str:
    """Return the module name of a file, such as `marketplace_async._core.codec`."""
    name = ".".join(file.relative_to(PROJECT).with_suffix("").parts)
    return name.removesuffix(".__init__")


MODULES = {module_of(file): file for file in FILES}


def imports(file: Path) -> set[str]:
    """Return the modules that a file imports, in functions and `TYPE_CHECKING` blocks as well."""
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
    """Return the room of a module; `FRONT_PAGE` for the package itself and its public names."""
    _, *parts = module.split(".")
    if parts in ([], ["_public"]):
        return FRONT_PAGE
    return ".".join(parts[:2]) if parts[0] == "_core" else parts[0]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_room_imports_only_the_rooms_it_may(file: Path) -> None:
    room = room_of(module_of(file))
    if room in (FRONT_PAGE, "_core"):
        return
    for module in imports(file):
        if module.split(".")[0] == "marketplace_async":
            other = room_of(module)
            assert other == room or other in ROOMS[room], f"{room} imports {other}"
        elif (name := module.split(".")[0]) not in sys.stdlib_module_names:
            assert name in THIRD_PARTIES.get(room, set()), f"{room} imports {name}"


def test_there_are_no_import_cycles() -> None:
    graph = TopologicalSorter(
        {name: imports(file) & MODULES.keys() - {name} for name, file in MODULES.items()}
    )
    graph.prepare()


def test_one_module_has_the_clock_that_measures_waits() -> None:
    """A test library may stop the clocks of `time`. The emulator shares no code with the client."""
    for file in FILES:
        if "emulator" in file.parts or file.name == "clocks.py":
            continue
        nodes = ast.walk(ast.parse(file.read_text()))
        names = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        assert not names & {"monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns"}, file


def test_core_imports_nothing_above_it_but_plain_values() -> None:
    above = {"errors", "credentials", "observe", "retry", "_version"}
    for room, others in ROOMS.items():
        if room.startswith("_core."):
            assert {one for one in others if not one.startswith("_core.")} <= above, room


def test_no_module_of_fleet_has_the_name_of_a_public_function() -> None:
    modules = {module.rpartition(".")[2] for module in MODULES if ".fleet." in module}
    functions = {name for name in fleet.__all__ if inspect.isfunction(getattr(fleet, name))}
    assert not modules & functions


def test_every_room_has_import_rules() -> None:
    rooms = {room_of(module) for module in MODULES} - {FRONT_PAGE, "_core"}
    assert rooms == ROOMS.keys()


def test_all_lists_the_public_names_in_order() -> None:
    public = {
        name
        for name, value in vars(_public).items()
        if not name.startswith("_") and not isinstance(value, type(sys))
    }
    assert set(_public.__all__) == public | {"__version__"}
    assert _public.__all__ == sorted(_public.__all__)


def test_the_package_has_all_public_names_and_no_others() -> None:
    namespace: dict[str, object] = {}
    exec("from marketplace_async import *", namespace)
    assert namespace.keys() - {"__builtins__"} == set(_public.__all__)
    assert set(_public.__all__) <= set(dir(marketplace_async))
    for name in _public.__all__:
        assert getattr(marketplace_async, name) is getattr(_public, name)
    for name in ("Nothing", "_nothing", "__nothing__"):
        with pytest.raises(AttributeError, match=f"'marketplace_async' has no attribute '{name}'"):
            getattr(marketplace_async, name)


@pytest.mark.parametrize(
    "statement",
    [
        "from marketplace_async import ConflictError",
        "from marketplace_async import *",
        "import marketplace_async; marketplace_async.ConflictError",
        "import marketplace_async; marketplace_async.errors.ConflictError",
        "import marketplace_async; dir(marketplace_async)",
        "import pickle; pickle.loads(b'cmarketplace_async\\nConflictError\\n.')",
        "import pickle; pickle.loads(b'cmarketplace_async.errors\\nConflictError\\n.')\n"
        "from marketplace_async import MarketplaceClient",
    ],
)
def test_public_names_are_complete_however_they_are_first_used(statement: str) -> None:
    program = (
        f"{statement}\n"
        "import marketplace_async, pickle\n"
        "from marketplace_async.errors import ConflictError\n"
        "assert vars(marketplace_async)['ConflictError'] is ConflictError\n"
        "assert ConflictError.__module__ == 'marketplace_async'\n"
        "assert pickle.loads(pickle.dumps(ConflictError)) is ConflictError\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_threads_that_use_the_first_name_at_once_all_get_it() -> None:
    program = (
        "import sys, threading\n"
        "import marketplace_async\n"
        "sys.setswitchinterval(1e-6)\n"
        "start, found = threading.Barrier(8), []\n"
        "def use(name):\n"
        "    start.wait()\n"
        "    found.append(getattr(marketplace_async, name).__name__)\n"
        "names = ['MarketplaceClient', 'ConflictError', 'Retry', 'capture'] * 2\n"
        "threads = [threading.Thread(target=use, args=[name]) for name in names]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()\n"
        "assert sorted(found) == sorted(names)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_public_names_have_docstrings() -> None:
    for name in _public.__all__:
        value = getattr(marketplace_async, name)
        if isinstance(value, type) or callable(value):
            assert value.__doc__, name
            for method, function in vars(value).items():
                if not method.startswith("_") and callable(function):
                    assert function.__doc__, f"{name}.{method}"


PUBLIC_CLASSES = [
    (module, value)
    for module, names in (
        (marketplace_async, _public.__all__),
        (bulk, bulk.__all__),
        (fleet, fleet.__all__),
        (observe, observe.__all__),
    )
    for name in names
    if isinstance(value := getattr(module, name), type)
]
AC = "AC" + "1" * 32
REQUEST = Request("GET", "/v1/InstalledAddOns")
RESPONSE = Response(200, {}, b"{}")
INSTALLED = InstalledAddOn(sid="XE", account_sid=AC, date_created=datetime(2026, 1, 1, tzinfo=UTC))
RECORDS = [
    AvailableAddOn(sid="XB", configuration_schema={"type": "object"}, links={"extensions": "u"}),
    AvailableAddOnExtension(sid="XF", available_add_on_sid="XB"),
    INSTALLED,
    InstalledAddOnExtension(sid="XF", installed_add_on_sid="XE", enabled=True),
    BillableItem("BI" + "1" * 32, 2),
    ReportedItem(sid="BI", quantity=Decimal("1.5"), submitted=True),
    UsageReport(billable_items=(), total_submitted=Decimal(0)),
    Listing(sid="XB", module_info={"name": "n"}),
    ReferralConversion(converted_account_sid=AC),
]
VALUES = [
    *RECORDS,
    Account(sid=AC),
    ConfigurationIssue("callback_url", "is required"),
    Ensured(INSTALLED, "unchanged"),
    Exchange(REQUEST, RESPONSE),
    Page((INSTALLED,), None),
    REQUEST,
    RESPONSE,
    Retry(attempts=1),
    AccountStats(
        sent=1, throttled=0, waiting=0, in_flight=0, limit=8, learned_limit=None, paused_for=0.0
    ),
    Stats(sent=1, throttled=1),
    Timeout(total=5.0),
    bulk.Success(1, 2),
]
HOLD_SECRETS = {AccountToken, ApiKey, ClientCredentials, Environment}


@pytest.mark.parametrize(("module", "cls"), PUBLIC_CLASSES, ids=lambda value: value.__name__)
def test_a_public_class_has_the_name_under_which_it_is_imported(
    module: ModuleType, cls: type[Any]
) -> None:
    assert cls.__module__ == module.__name__
    assert pickle.loads(pickle.dumps(cls)) is cls


@pytest.mark.parametrize("cls", [cls for _, cls in PUBLIC_CLASSES], ids=lambda cls: cls.__name__)
def test_annotations_of_a_public_class_are_objects(cls: type[Any]) -> None:
    assert not any(isinstance(type_, str) for type_ in inspect.get_annotations(cls).values())
    for base in cls.__mro__[:-1]:
        get_type_hints(base, include_extras=True)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_public_value_survives_pickling(value: object) -> None:
    assert pickle.loads(pickle.dumps(value)) == value


def test_every_public_value_is_pickled_above() -> None:
    classes = {cls for module, cls in PUBLIC_CLASSES if module is marketplace_async}
    assert {type(value) for value in VALUES} - {bulk.Success} == {
        cls for cls in classes - HOLD_SECRETS if attrs.has(cls)
    }


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_cattrs_and_msgspec_decode_a_record(record: Any) -> None:
    converter = make_converter()
    converter.register_structure_hook(Decimal, lambda amount, _: Decimal(amount))
    text = converter.dumps(record)
    assert converter.loads(text, type(record)) == record
    assert msgspec.json.decode(text, type=type(record)) == record


def test_importing_the_package_imports_no_extra_and_starts_no_thread() -> None:
    program = (
        "import sys, threading\n"
        "before = set(sys.modules)\n"
        "from marketplace_async import *\n"
        "late = {'cyclopts', 'rich', 'jsonschema_rs', 'pydantic', 'pydantic_core', 'sqlite3'}\n"
        "late |= {'aiohttp.web', 'opentelemetry'}\n"
        "assert not late & (sys.modules.keys() - before)\n"
        "assert threading.active_count() == 1\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_call_sites_have_the_expected_types() -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "tests/call_sites.py"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr

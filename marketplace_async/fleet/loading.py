"""Reads and checks a desired state from a TOML file."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path as FilePath
from typing import Any
from unicodedata import normalize

import msgspec

from .._core.frames import hide_arguments
from .configurations import Reader, Special, keys_of
from .desired import Desired, overrides_of
from .desired_file import File
from .format_check import check_format
from .masking import masked
from .problems import DesiredStateError, Problems, path_text, suggestion
from .toml_text import MAX_DEPTH, MAX_SIZE, Lines, Path, TomlError, parse_toml


@hide_arguments
def load(file: str | os.PathLike[str], environ: Mapping[str, str] | None = None) -> Desired:
    """Read a desired state from a TOML file of at most 16 MiB, in UTF-8.

    Args:
        file: The file. `schema()` describes its content.
        environ: Environment variables for values such as `{ env = "NAME" }`. Defaults to
            `os.environ`.

    Raises:
        DesiredStateError: The file is invalid. The message lists every problem, each with its line
            and path.
        OSError: The file cannot be read.
    """
    with FilePath(file).open("rb") as stream:
        content = stream.read(MAX_SIZE + 1)
    name = str(file)
    if len(content) > MAX_SIZE:
        raise DesiredStateError(f"longer than {MAX_SIZE:,} bytes", name)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise DesiredStateError(f"not UTF-8: {error}; save the file as UTF-8", name) from None
    try:
        return _parsed(text, environ, (FilePath(file),))
    except DesiredStateError as error:
        raise DesiredStateError(error.problems, name) from None


@hide_arguments
def parse(text: str, environ: Mapping[str, str] | None = None) -> Desired:
    """Read a desired state from TOML text. Otherwise like `load`."""
    return _parsed(text, environ)


@hide_arguments
def _parsed(
    text: str, environ: Mapping[str, str] | None, files: tuple[FilePath, ...] = ()
) -> Desired:
    text = text.removeprefix("\N{BYTE ORDER MARK}")
    try:
        document = parse_toml(text)
    except TomlError as error:
        raise DesiredStateError(str(error)) from None
    return _desired(document, environ, Lines(text), files)


@hide_arguments
def from_document(document: Any, environ: Mapping[str, str] | None = None) -> Desired:
    """Create a desired state from plain values, such as parsed TOML. Otherwise like `load`."""
    return _desired(document, environ, Lines())


def _desired(
    document: Any,
    environ: Mapping[str, str] | None,
    lines: Lines,
    files: tuple[FilePath, ...] = (),
) -> Desired:
    problems = Problems(_names_in(document), lines)
    _check_depth(document, problems)
    problems.check()
    check_format(document, problems)
    configured = _Configured(document, os.environ if environ is None else environ, problems)
    problems.check()
    file: File = msgspec.convert(document, File)
    _check_names(file, problems)
    problems.check()
    digest = hashlib.sha256(
        json.dumps(masked(document, file.secret), sort_keys=True).encode()
    ).hexdigest()
    desired = Desired(
        *(
            configured.file(file),
            file.secret,
            tuple(_warnings(file)),
            digest,
            lines,
            files,
            document,
        )
    )
    desired.prepare()
    return desired


def _names_in(document: Any) -> list[str | None]:
    add_ons = document.get("add_ons") if isinstance(document, Mapping) else None
    tables = add_ons if isinstance(add_ons, list | tuple) else ()
    names = [one.get("unique_name") if isinstance(one, Mapping) else None for one in tables]
    return [name if isinstance(name, str) else None for name in names]


def _check_depth(document: Any, problems: Problems) -> None:
    """Check the nesting without recursion. TOML text can combine deep keys and deep values."""
    stack: list[tuple[Path, Any]] = [((), document)]
    while stack:
        path, value = stack.pop()
        if len(path) > 2 * MAX_DEPTH:
            problems.add(path[:4], f"nested more than {2 * MAX_DEPTH} levels deep")
            return
        if isinstance(value, Mapping):
            stack += [((*path, str(key)), item) for key, item in value.items()]
        elif isinstance(value, list | tuple):
            stack += [((*path, index), item) for index, item in enumerate(value)]


class _Configured:
    """The configurations of a document, by path. Reads them even if other parts are invalid."""

    def __init__(self, document: Any, environ: Mapping[str, str], problems: Problems) -> None:
        self._problems = problems
        self._by_path: dict[Path, dict[str, Any]] = {}
        document = document if isinstance(document, Mapping) else {}
        secret = _tables(document.get("secret"))
        self._reader = Reader(
            frozenset(key for key in secret if isinstance(key, str)), environ, problems
        )
        for index, add_on in enumerate(_tables(document.get("add_ons"))):
            path: Path = ("add_ons", index)
            self._read(add_on, path, override=False)
            overrides = add_on.get("overrides") if isinstance(add_on, Mapping) else None
            for number, override in enumerate(_tables(overrides)):
                self._read(override, (*path, "overrides", number), override=True)
        known = {key for one in self._by_path.values() for key in keys_of(one)}
        for index, key in enumerate(secret):
            if isinstance(key, str) and key.strip() and key not in known:
                hint = suggestion(key, known)
                problems.add(("secret", index), f"no configuration has the key {key!r}{hint}")
        self._check_removals()

    def _read(self, table: Any, path: Path, *, override: bool) -> None:
        configuration = table.get("configuration") if isinstance(table, Mapping) else None
        if isinstance(configuration, Mapping):
            path = (*path, "configuration")
            self._by_path[path] = self._reader.read(configuration, path, override=override)

    def _check_removals(self) -> None:
        """Check that each key that an override removes is set elsewhere."""
        set_keys: dict[int, set[Path]] = {}
        for path, configuration in self._by_path.items():
            found = {key for key, value in _leaves(configuration) if value is not Special.REMOVE}
            set_keys.setdefault(int(path[1]), set()).update(
                key[:length] for key in found for length in range(1, len(key) + 1)
            )
        for path, configuration in self._by_path.items():
            if "overrides" not in path:
                continue
            known = set_keys[int(path[1])]
            for key, value in _leaves(configuration):
                if value is Special.REMOVE and key not in known:
                    hint = suggestion(path_text(key), map(path_text, known))
                    self._problems.add((*path, *key), f"nothing sets this key{hint}")

    def file(self, file: File) -> File:
        """Return the file with the configurations that were read."""
        replace = msgspec.structs.replace
        add_ons = []
        for index, add_on in enumerate(file.add_ons):
            changes: dict[str, Any] = {}
            path: Path = ("add_ons", index)
            overrides = [
                replace(override, configuration=self._by_path[key])
                if (key := (*path, "overrides", number, "configuration")) in self._by_path
                else override
                for number, override in enumerate(overrides_of(add_on))
            ]
            if overrides:
                changes["overrides"] = tuple(overrides)
            if (key := (*path, "configuration")) in self._by_path:
                changes["configuration"] = self._by_path[key]
            add_ons.append(replace(add_on, **changes))
        return replace(file, add_ons=tuple(add_ons))


def _tables(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


def _leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict) and (value or not path):
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    else:
        yield path, value


def _check_names(file: File, problems: Problems) -> None:
    on_all_accounts: dict[str, int] = {}
    for index, add_on in enumerate(file.add_ons):
        if add_on.accounts == "all":
            first = on_all_accounts.setdefault(add_on.unique_name, index)
            if first != index:
                problems.add(
                    ("add_ons", index),
                    f"add_ons[{first}] also defines this unique name for all accounts",
                )


def _warnings(file: File) -> Iterator[str]:
    """Yield a warning for each pair of unique names that look alike."""
    alike: dict[str, list[str]] = {}
    for add_on in file.add_ons:
        names = alike.setdefault(normalize("NFKC", add_on.unique_name).casefold().strip(), [])
        if add_on.unique_name not in names:
            names.append(add_on.unique_name)
    for names in alike.values():
        for one, other in pairwise(names):
            same_text = normalize("NFC", one) == normalize("NFC", other)
            form = "Unicode form" if same_text else "case, spaces or Unicode form"
            # In ASCII, because the names look alike.
            yield f"the unique names {one!a} and {other!a} differ only in {form}"

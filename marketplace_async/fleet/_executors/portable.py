"""Converts sources to plain JSON without credentials, and back in another process.

A worker opens the source itself: it reads credentials from its own profile, environment, file or
vault, and uses its own proxy and TLS settings.
"""

import importlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, cast, runtime_checkable

import attrs

from ..._core.codec import plain_object
from ..._core.session import to_timeout
from ...client import ClientOptions, MarketplaceClient
from ...retry import Retry
from .._engine.entries import JobError
from ..connections import Source
from ..sources import AccountsFile, Subaccounts, Vault

# The options that a worker gets from the job. The others are settings of its own machine.
_OPTIONS: Final = (
    *("region", "edge", "base_url", "trust_env", "max_response_size", "allow_http"),
    *("fresh_connection_for_unsafe_writes", "user_agent", "timeout", "retry"),
)
_OF_THE_MACHINE: Final = ("concurrency", "requests_per_second", "proxy", "ssl")


@runtime_checkable
class Elsewhere(Protocol):
    """A function that other processes replace with one without secrets."""

    def elsewhere(self) -> Callable[[], MarketplaceClient]:
        """Return the function to call in another process."""
        ...


def describe(source: Source) -> dict[str, Any]:
    """Return a source as plain JSON, without credentials.

    Raises:
        JobError: Another process cannot open the source.
    """
    match source:
        case Subaccounts():
            connect = source.connect
            if isinstance(connect, Elsewhere):
                connect = connect.elsewhere()
            return {"kind": "subaccounts", "connect": _described(connect, "connect")}
        case AccountsFile():
            if not source.is_regular_file():
                raise JobError(
                    f"the accounts of {source.name} are in the memory of this process: write them "
                    "to a file that the workers can read"
                )
            return {
                "kind": "file",
                "path": str(source.file.resolve()),
                "format": source.format,
                "options": _described_options(source.options),
            }
        case Vault():
            return {
                "kind": "vault",
                "sids": _described(source.sids, "sids"),
                "find": _described(source.find, "find"),
                "timeout": source.timeout,
                "options": _described_options(source.options),
            }
        case _:
            raise JobError(
                "source: workers in other processes need Subaccounts, AccountsFile or Vault, got "
                f"{type(source).__name__}"
            )


def source_of(document: Mapping[str, Any]) -> Source:
    """Return the source that was described."""
    match document["kind"]:
        case "subaccounts":
            return Subaccounts(_found(document["connect"]))
        case "file":
            options = _options(document["options"])
            return AccountsFile(Path(document["path"]), options, format=document["format"])
        case "vault":
            return Vault(
                _found(document["sids"]),
                _found(document["find"]),
                _options(document["options"]),
                timeout=document["timeout"],
            )
        case kind:
            raise ValueError(f"source: unknown kind {kind!r}")


def _described(function: Callable[..., Any], name: str) -> dict[str, Any]:
    args: tuple[Any, ...] = ()
    keywords: dict[str, Any] = {}
    if isinstance(function, partial):
        args, keywords, function = function.args, function.keywords, function.func
    module = getattr(function, "__module__", None)
    path = getattr(function, "__qualname__", None)
    if not (module and path) or module == "__main__" or _lookup(module, path) != function:
        raise JobError(
            f"source: {name} must be a function of a module that workers can import, or a "
            "functools.partial of one"
        )
    try:
        bound = plain_object({"args": list(args), "keywords": keywords}, name)
    except (TypeError, ValueError) as error:
        raise JobError(
            f"source: {name} must be bound to plain values, without credentials, to run in other "
            f"processes: {error}"
        ) from None
    return {"module": module, "name": path, **bound}


def _lookup(module: str, path: str) -> Any:
    try:
        found: Any = importlib.import_module(module)
        for name in path.split("."):
            found = getattr(found, name)
    except (ImportError, AttributeError):
        return None
    return found


def _found(document: Mapping[str, Any]) -> Callable[..., Any]:
    module, name = document["module"], document["name"]
    function = _lookup(module, name)
    if function is None:
        raise ImportError(f"this worker has no function {name} in a module {module}")
    return partial(function, *document["args"], **document["keywords"])


def _described_options(options: ClientOptions) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for name, value in options.items():
        if name in _OF_THE_MACHINE or value is None:
            continue
        if name not in _OPTIONS:
            raise JobError(f"source: the option {name} cannot be sent to other processes")
        match name:
            case "timeout":
                document[name] = attrs.asdict(to_timeout(cast("float", value)))
            case "retry":
                document[name] = attrs.asdict(cast("Retry", value))
            case _:
                document[name] = str(value) if name == "base_url" else value
    return plain_object(document, "options")


def _options(document: Mapping[str, Any]) -> ClientOptions:
    options = dict(document)
    if "timeout" in options:
        options["timeout"] = attrs.evolve(to_timeout(1.0), **options["timeout"])
    if "retry" in options:
        options["retry"] = Retry(**options["retry"])
    return cast("ClientOptions", options)

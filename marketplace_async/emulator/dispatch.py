"""Routing: matches a path against all routes with a single regular expression."""

import re
from collections.abc import Iterable, Mapping
from typing import Final, Generic, TypeAlias, TypeVar

T = TypeVar("T")

Segments: TypeAlias = Mapping[str, str]

_PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")


class Dispatcher(Generic[T]):
    """Finds the handler for a method and path.

    Args:
        routes: Method, path and handler. `{name}` in a path matches one or more characters other
            than slashes and braces.
        not_found: The handler for unknown paths.
        method_not_allowed: The handler for known paths with another method.
    """

    def __init__(
        self, routes: Iterable[tuple[str, str, T]], *, not_found: T, method_not_allowed: T
    ) -> None:
        handlers: dict[str, dict[str, T]] = {}
        for method, path, handler in routes:
            handlers.setdefault(path, {})[method] = handler
        self._not_found = not_found
        self._method_not_allowed = method_not_allowed
        self._match = re.compile("|".join(f"({_pattern(path)})" for path in handlers)).fullmatch
        # Keyed by the number of the path's group. The groups of its placeholders follow.
        self._paths: dict[int, tuple[list[tuple[str, int]], dict[str, T]]] = {}
        group = 1
        for path, methods in handlers.items():
            names = [(name, group + nth) for nth, name in enumerate(_PLACEHOLDER.findall(path), 1)]
            self._paths[group] = names, methods
            group += 1 + len(names)

    def find(self, method: str, path: str) -> tuple[T, Segments]:
        """Return the handler and the values of the placeholders.

        Args:
            method: The HTTP method.
            path: The path, decoded except for %2F and %25.
        """
        match = self._match(path)
        if match is None or match.lastindex is None:
            return self._not_found, {}
        names, methods = self._paths[match.lastindex]
        segments = {name: _decode(match[group]) for name, group in names}
        return methods.get(method, self._method_not_allowed), segments


def _pattern(path: str) -> str:
    literals = _PLACEHOLDER.split(path)[::2]
    return "([^{}/]+)".join(re.escape(literal) for literal in literals)


def _decode(value: str) -> str:
    return value.replace("%2F", "/").replace("%25", "%") if "%" in value else value

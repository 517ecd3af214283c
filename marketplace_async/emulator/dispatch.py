"""Finds what answers a request: one match of its path against all paths at once."""

import re
from collections.abc import Iterable, Mapping
from typing import Final, Generic, TypeAlias, TypeVar

T = TypeVar("T")

Segments: TypeAlias = Mapping[str, str]

_PLACE: Final = re.compile(r"\{(\w+)\}")


class Dispatcher(Generic[T]):
    """What answers each method of each path.

    Args:
        table: Method, path and what answers it. `{name}` in a path is a place for anything that
            has neither a slash nor a brace.
        no_path: What answers where there is no such path.
        no_method: What answers where the path is there, and takes other methods.
    """

    def __init__(self, table: Iterable[tuple[str, str, T]], *, no_path: T, no_method: T) -> None:
        methods: dict[str, dict[str, T]] = {}
        for method, path, target in table:
            methods.setdefault(path, {})[method] = target
        self._no_path = no_path
        self._no_method = no_method
        self._match = re.compile("|".join(f"({_pattern(path)})" for path in methods)).fullmatch
        # A path is known by the number of its group, which those of its places come after.
        self._paths: dict[int, tuple[list[tuple[str, int]], dict[str, T]]] = {}
        group = 1
        for path, targets in methods.items():
            places = [(name, group + nth) for nth, name in enumerate(_PLACE.findall(path), 1)]
            self._paths[group] = places, targets
            group += 1 + len(places)

    def find(self, method: str, path: str) -> tuple[T, Segments]:
        """Return what answers, and what stands in the places of its path.

        Args:
            method: The method.
            path: The path, decoded but for %2F and %25.
        """
        match = self._match(path)
        if match is None or match.lastindex is None:
            return self._no_path, {}
        places, targets = self._paths[match.lastindex]
        segments = {name: _decoded(match[group]) for name, group in places}
        return targets.get(method, self._no_method), segments


def _pattern(path: str) -> str:
    fixed = _PLACE.split(path)[::2]
    return "([^{}/]+)".join(re.escape(part) for part in fixed)


def _decoded(value: str) -> str:
    return value.replace("%2F", "/").replace("%25", "%") if "%" in value else value

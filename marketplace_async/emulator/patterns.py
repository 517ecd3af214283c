"""Patterns of paths, as in faults: * matches any characters, all else matches itself."""

import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from functools import cache
from typing import Final

# One step of a route: any number of characters of the same segment.
_SEGMENT: Final = "<segment>"
_ANY: Final = "*"


@cache
def matcher(pattern: str) -> Callable[[str], object]:
    """Return a function that tells whether a path matches a pattern."""
    return re.compile(".*".join(map(re.escape, pattern.split(_ANY))), re.DOTALL).fullmatch


def check_served(method: str, pattern: str, routes: Iterable[tuple[str, str]]) -> None:
    """Check that a request can match a method (or "*") and a pattern.

    Args:
        method: The method.
        pattern: The pattern.
        routes: The method and path of each route. `{xb}` in a path is a SID that starts with XB.

    Raises:
        ValueError: No route matches. The message says what to change.
    """
    paths: dict[str, list[str]] = {}
    for allowed, path in routes:
        paths.setdefault(path, []).append(allowed)
    matching = [path for path in paths if _overlap(pattern, path)]
    if not matching:
        close = get_close_matches(pattern, paths, n=1, cutoff=0.0)
        raise ValueError(f"path: {pattern!r} matches no route; the closest is {close[0]}")
    methods = sorted({allowed for path in matching for allowed in paths[path]})
    if method not in (_ANY, *methods):
        raise ValueError(f"method: must be {' or '.join(methods)} for {pattern}, got {method!r}")


def _overlap(pattern: str, route: str) -> bool:
    """Return whether a path exists that matches both a pattern and a route."""
    steps = _steps(route)
    # Every pair of positions, in the pattern and in the route, that some beginning of a path
    # can lead to.
    pending, seen = [(0, 0)], set[tuple[int, int]]()
    while pending:
        here = pending.pop()
        if here in seen:
            continue
        seen.add(here)
        at, step = here
        if at == len(pattern) and step == len(steps):
            return True
        wanted = pattern[at] if at < len(pattern) else None
        served = steps[step] if step < len(steps) else None
        if wanted == _ANY:
            pending.append((at + 1, step))
            if served is not None:
                pending.append((at, step + 1))
        if served == _SEGMENT:
            pending.append((at, step + 1))
            if wanted is not None and wanted not in "*/{}":
                pending.append((at + 1, step))
        elif wanted is not None and wanted == served:
            pending.append((at + 1, step + 1))
    return False


def _steps(route: str) -> list[str]:
    steps: list[str] = []
    for index, part in enumerate(re.split(r"\{(\w+)\}", route)):
        if index % 2 == 0:
            steps.extend(part)
        else:
            # A placeholder is named after the prefix of its SIDs.
            steps.extend([*(part.upper() if len(part) == 2 else ""), _SEGMENT])
    return steps

"""Masking: keeps the values of secret keys out of output, messages and files."""

from collections.abc import Collection, Iterable
from typing import Any

from .._core.masking import MASK


def masked(value: Any, secret: Collection[str]) -> Any:
    """Return a copy of plain JSON with the values of secret keys, at any depth, masked."""
    match value:
        case dict():
            return {
                key: MASK if key in secret else masked(item, secret) for key, item in value.items()
            }
        case list() | tuple():
            return [masked(item, secret) for item in value]
        case _:
            return value


def secret_values(value: Any, secret: Collection[str]) -> frozenset[str]:
    """Return the values of secret keys, at any depth, as text."""

    def leaves(value: Any, hidden: bool) -> Iterable[str]:
        match value:
            case dict():
                for key, item in value.items():
                    yield from leaves(item, hidden or key in secret)
            case list() | tuple():
                for item in value:
                    yield from leaves(item, hidden)
            case str() | int() | float() if hidden and not isinstance(value, bool):
                yield str(value)
            case _:
                return

    return frozenset(text for text in leaves(value, hidden=False) if text)

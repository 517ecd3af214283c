"""Masking: keeps the values of secret keys out of output, messages and files."""

from collections.abc import Collection, Iterable, Iterator, Mapping
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


def written_secrets(
    document: Mapping[str, Any], secret: Collection[str]
) -> Iterator[tuple[str | int, ...]]:
    """Yield the paths of secret values in the configurations of a desired state as written."""
    for index, add_on in enumerate(document.get("add_ons", ())):
        path = ("add_ons", index)
        yield from _plain_secrets(add_on.get("configuration"), (*path, "configuration"), secret)
        for number, override in enumerate(add_on.get("overrides", ())):
            configuration = override.get("configuration")
            of_override = (*path, "overrides", number, "configuration")
            yield from _plain_secrets(configuration, of_override, secret)


def _plain_secrets(
    value: Any, path: tuple[str | int, ...], secret: Collection[str], hidden: bool = False
) -> Iterator[tuple[str | int, ...]]:
    match value:
        case {"env": str()} if len(value) == 1:
            return
        case Mapping():
            for key, item in value.items():
                yield from _plain_secrets(item, (*path, key), secret, hidden or key in secret)
        case list() | tuple():
            for index, item in enumerate(value):
                yield from _plain_secrets(item, (*path, index), secret, hidden)
        case str() | int() | float() if hidden and not isinstance(value, bool):
            yield path
        case _:
            return

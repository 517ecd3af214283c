"""What is wrong with a document, or with a value that is to become one, and where."""

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, TypeAlias, get_origin

from cattrs import AttributeValidationNote, BaseValidationError, IterableValidationNote

Path: TypeAlias = tuple[str | int, ...]


class DocumentError(ValueError):
    """A document is not what a class needs, or a value cannot become one.

    Attributes:
        problems: What is wrong, and where: the keys and indexes that lead there.
    """

    def __init__(self, cls: Any, problems: Iterable[tuple[Path, str]]) -> None:
        self.problems = tuple(problems)
        super().__init__(cls, self.problems)

    def __str__(self) -> str:
        cls, problems = self.args
        text = "; ".join(f"{_dotted(path)}: {text}" if path else text for path, text in problems)
        if cls is None or get_origin(cls) in (list, tuple):
            return text
        return f"{getattr(cls, '__name__', cls)}: {text}"


def problems_in(error: BaseException, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Yield what is wrong with a document that the converter did not accept."""
    if isinstance(error, DocumentError):
        for inner, text in error.problems:
            yield (*path, *inner), text
    elif isinstance(error, BaseValidationError):
        for each in error.exceptions:
            yield from problems_in(each, (*path, *_place_of(each)))
    elif isinstance(error, KeyError):
        yield path, "is missing"
    elif isinstance(error, RecursionError):
        yield path, "nested too deeply"
    else:
        yield path, str(error)


def _place_of(error: BaseException) -> Path:
    for note in getattr(error, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            return (note.name,)
        if isinstance(note, IterableValidationNote):
            return (note.index,)
    return ()


def _dotted(path: Path) -> str:
    text = ""
    for each in path:
        text += f"[{each}]" if isinstance(each, int) else f".{each}"
    return text.removeprefix(".")


def kind(value: object) -> str:
    """Return what a plain value is in JSON, for a message that must not show it."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case str():
            return "text"
        case int() | float() | Decimal():
            return "a number"
        case list() | tuple():
            return "a list"
        case Mapping():
            return "an object"
        case _:
            return type(value).__name__

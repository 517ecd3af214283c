"""Selects accounts by SID and friendly name, with an index: a fleet can have as many selectors as
accounts.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from unicodedata import normalize

import attrs
from msgspec import UnsetType

from .desired_file import File, Selector
from .toml_text import Path


def nfc(text: str) -> str:
    """Return the text in NFC, the form in which names are compared."""
    return normalize("NFC", text)


class Pattern:
    """A pattern in which `*` matches any text and `?` any character. Nothing else is special.

    Args:
        text: The pattern, in NFC.

    Attributes:
        literals: The parts without wildcards, which every matching text contains.
    """

    __slots__ = ("_first", "_last", "_middle", "literals")

    def __init__(self, text: str) -> None:
        first, *others = text.split("*")
        self._first = first
        self._last = others.pop() if others else None
        self._middle = tuple(part for part in others if part)
        self.literals: tuple[str, ...] = tuple(
            part for part in text.replace("?", "*").split("*") if part
        )

    def matches(self, text: str) -> bool:
        """Return whether the whole text, in NFC, matches."""
        start, end = len(self._first), len(text)
        if not _is_at(self._first, text, 0):
            return False
        if self._last is None:
            return start == end
        end -= len(self._last)
        if end < start or not _is_at(self._last, text, end):
            return False
        # The first match of each part leaves the most text for the others: no backtracking.
        for part in self._middle:
            found = _find(part, text, start, end)
            if found < 0:
                return False
            start = found + len(part)
        return True


def _is_at(part: str, text: str, start: int) -> bool:
    if "?" not in part:
        return text.startswith(part, start)
    return len(text) - start >= len(part) and all(
        wanted in ("?", text[position]) for position, wanted in enumerate(part, start)
    )


def _find(part: str, text: str, start: int, end: int) -> int:
    if "?" not in part:
        return text.find(part, start, end)
    positions = range(start, end - len(part) + 1)
    return next((position for position in positions if _is_at(part, text, position)), -1)


class _PatternIndex:
    """Finds the patterns that match a name, and yields the numbers of the terms that use them.

    Each pattern is indexed by its rarest literal, such as "-17" for "Shop *-17". A name is only
    compared with patterns whose literal it contains.
    """

    def __init__(self, numbers: dict[str, list[int]]) -> None:
        patterns = [(Pattern(text), found) for text, found in numbers.items()]
        uses = Counter(literal for pattern, _ in patterns for literal in set(pattern.literals))
        self._by_literal: dict[str, list[tuple[Pattern, list[int]]]] = {}
        for pattern, found in patterns:
            literal = min(pattern.literals, key=lambda one: (uses[one], -len(one)), default="")
            self._by_literal.setdefault(literal, []).append((pattern, found))
        self._lengths = sorted(set(map(len, self._by_literal)))

    def find(self, name: str) -> Iterator[int]:
        for pattern, numbers in self._candidates(name):
            if pattern.matches(name):
                yield from numbers

    def _candidates(self, name: str) -> Iterator[tuple[Pattern, list[int]]]:
        for length in self._lengths:
            if length > len(name):
                return
            positions = range(len(name) - length + 1) if length else range(1)
            for literal in {name[position : position + length] for position in positions}:
                yield from self._by_literal.get(literal, ())


@attrs.frozen
class Term:
    """One SID or pattern of the selector of an entry.

    Attributes:
        entry: The number of the entry.
        key: The key of the list: "friendly_names", "sids", "except_friendly_names" or
            "except_sids".
        index: The position in the list.
        text: The SID or pattern.
    """

    entry: int
    key: str
    index: int
    text: str

    @property
    def is_exception(self) -> bool:
        """Whether it excludes accounts."""
        return self.key.startswith("except_")

    @property
    def is_sid(self) -> bool:
        """Whether the text is a SID."""
        return self.key.endswith("sids")


@attrs.frozen
class Entry:
    """An Add-on or an override of a desired state, with a selector.

    Attributes:
        path: The path in the file.
        unique_name: The unique name of the Add-on.
        add_on: The position of the Add-on.
        override: The position of the override. None for an Add-on.
    """

    path: Path
    unique_name: str
    add_on: int
    override: int | None = None


@attrs.frozen
class Match:
    """The entries and terms that match an account.

    Attributes:
        entries: The numbers of the entries that apply, in order. An override applies if its Add-on
            does.
        terms: The numbers of the terms that match the account, in any order.
    """

    entries: Sequence[int]
    terms: Sequence[int]


class Index:
    """Finds the entries that apply to an account, in time that does not depend on their number.

    Attributes:
        entries: The entries of the file in order. Their numbers are their positions.
        terms: The terms of all selectors. Their numbers are their positions.
    """

    def __init__(self, file: File) -> None:
        self.entries: list[Entry] = []
        self.terms: list[Term] = []
        # The entries that select every account that they do not exclude.
        self._unless_excepted: set[int] = set()
        for index, add_on in enumerate(file.add_ons):
            path, name = ("add_ons", index), add_on.unique_name
            self._add(Entry(path, name, index), add_on.accounts)
            overrides = () if isinstance(add_on.overrides, UnsetType) else add_on.overrides
            for number, override in enumerate(overrides):
                entry = Entry((*path, "overrides", number), name, index, number)
                self._add(entry, override.accounts)
        self._sids: dict[str, list[int]] = {}
        names: dict[str, list[int]] = {}
        for number, term in enumerate(self.terms):
            if term.is_sid:
                self._sids.setdefault(term.text.lower(), []).append(number)
            else:
                names.setdefault(nfc(term.text), []).append(number)
        self._names = {text: found for text, found in names.items() if not set("*?") & set(text)}
        self._patterns = _PatternIndex(
            {text: found for text, found in names.items() if text not in self._names}
        )

    def _add(self, entry: Entry, selector: Selector) -> None:
        number = len(self.entries)
        terms = list(_terms(number, selector))
        if all(term.is_exception for term in terms):
            self._unless_excepted.add(number)
        self.entries.append(entry)
        self.terms += terms

    def match(self, account_sid: str, friendly_name: str | None) -> Match:
        """Return the entries that apply to an account, and the terms that match it."""
        name = nfc(friendly_name or "")
        found = [
            *self._sids.get(account_sid.lower(), ()),
            *self._names.get(name, ()),
            *self._patterns.find(name),
        ]
        terms = [self.terms[number] for number in found]
        selected = {term.entry for term in terms if not term.is_exception}
        excepted = {term.entry for term in terms if term.is_exception}
        return Match(
            list(self._applying(sorted((self._unless_excepted | selected) - excepted))), found
        )

    def _applying(self, selected: Iterable[int]) -> Iterator[int]:
        add_on = None
        for number in selected:
            entry = self.entries[number]
            if entry.override is None:
                add_on = entry.add_on
            if entry.add_on == add_on:
                yield number


def _terms(number: int, selector: Selector) -> Iterator[Term]:
    if selector == "all":
        return
    for key in selector.__struct_fields__:
        values = getattr(selector, key)
        if not isinstance(values, UnsetType):
            for index, text in enumerate(values):
                yield Term(number, key, index, text)

"""Compares a response with what was asked: it must be about the same resource and account."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from .codec import unusable
from .messages import Request, Response
from .operation import Parse

T = TypeVar("T")


def expecting(parse: Parse[T], **expected: str | bool | None) -> Parse[T]:
    """Return a parser that also compares the fields of the record with these values.

    A value of None is not compared, and neither is a field that the response leaves open. A
    different value raises UnusableResponseError.
    """

    def parse_and_compare(request: Request, response: Response) -> T:
        record = parse(request, response)
        differences = mismatches(record, expected)
        if differences:
            reason = f"the response is about something else: {differences}"
            raise unusable(request, response, reason)
        return record

    return parse_and_compare


def expecting_each(
    parse: Parse[T],
    others: Callable[[T, str], list[Any]],
    **expected: str | None,
) -> Parse[T]:
    """Return a parser of a page that also compares a field of each of its records.

    `others` returns the records that have another value in the field. It makes no call for each
    record: pages are large.
    """
    (wanted,) = expected.values()
    if wanted is None:
        return parse

    def parse_and_compare(request: Request, response: Response) -> T:
        page = parse(request, response)
        for record in others(page, wanted):
            differences = mismatches(record, expected)
            if differences:
                reason = f"{record.sid} does not belong to this list: {differences}"
                raise unusable(request, response, reason)
        return page

    return parse_and_compare


def mismatches(record: Any, expected: Mapping[str, str | bool | None]) -> str:
    """Return what differs in the fields that both sides know; empty if nothing does."""
    differences = []
    for name, wanted in expected.items():
        actual = getattr(record, name)
        if wanted is None or actual is None or actual == wanted:
            continue
        if name not in record.unreadable and not _same(name, actual, wanted):
            differences.append(f"{name} is {actual!r}, not {wanted!r}")
    return ", ".join(differences)


def _same(name: str, actual: object, wanted: object) -> bool:
    if name.endswith("sid") and isinstance(actual, str) and isinstance(wanted, str):
        # The hex digits of a SID may be in either case.
        return actual.lower() == wanted.lower()
    return actual == wanted

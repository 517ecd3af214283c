"""The base classes of values and of records. A record lists the fields that are unknown."""

import itertools
from collections.abc import Mapping
from datetime import datetime as datetime  # re-exported, as the class below
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Final, SupportsIndex, TypeAlias, TypeVar

import attrs
from msgspec import Meta

if not TYPE_CHECKING:
    # Under freezegun, `datetime` is a subclass, which msgspec cannot decode.
    datetime = next(cls for cls in datetime.__mro__ if cls.__module__ == "datetime")

AwareDatetime: TypeAlias = Annotated[datetime, Meta(tz=True)]
"""A datetime with a time zone. The service sends UTC; a value without a zone is rejected."""

R = TypeVar("R", bound="Record")

_EMPTY: Final[Mapping[str, Any]] = MappingProxyType({})
_absences = itertools.count()


def absent() -> None:
    """Return None, the default of a field that the service sends, and count that it is missing.

    A decoder calls it for each missing field. Comparing the count before and after costs nothing
    while no field is missing, unlike a look at each record.
    """
    next(_absences)


def count_absences() -> int:
    """Return a number that grows by 1 from call to call if no field was missing in between."""
    return next(_absences)


class Value:
    """The base class of what can leave the program as JSON. Its fields hold no secrets.

    The only exception is `credentials`, which is left out.
    """

    __slots__ = ()


class Record(Value):
    """The base class of records."""

    # This is not set unless a field is unknown. It takes the place of the weak reference that
    # attrs would add, so that records are no larger.
    __slots__ = ("_unreadable",)

    _unreadable: Mapping[str, Any]

    @property
    def unreadable(self) -> Mapping[str, Any]:
        """The fields of the response that were missing, or could not be read as they are.

        Maps the name of each to the value in the response; to `attrs.NOTHING` if it is missing.
        The field itself is None, or text with U+FFFD in place of what is not Unicode. Its real
        value is unknown, so nothing should be decided on it. Empty for nearly all records.
        """
        return getattr(self, "_unreadable", _EMPTY)

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        if not self.unreadable:
            return super().__reduce_ex__(protocol)
        fields: Any = attrs.fields(type(self))  # type: ignore[arg-type]  # records use attrs
        values = {field.name: getattr(self, field.name) for field in fields}
        return _restored, (type(self), values, dict(self.unreadable))


class Envelope:
    """The base class of documents that hold records."""

    __slots__ = ()


def marked(record: R, unreadable: Mapping[str, Any]) -> R:
    """Note on a new record which of its fields are unknown."""
    if unreadable:
        object.__setattr__(record, "_unreadable", MappingProxyType(dict(unreadable)))
    return record


def _restored(cls: type[R], values: Mapping[str, Any], unreadable: Mapping[str, Any]) -> R:
    return marked(cls(**values), unreadable)

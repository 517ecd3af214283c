"""The outcome of a bulk call for one item: a success or a failure."""

from typing import ClassVar, Generic, Literal, Never, TypeAlias, TypeVar

import attrs

from .._core.serializable import Serializable

Item = TypeVar("Item")
T = TypeVar("T")


@attrs.frozen
class Success(Serializable, Generic[Item, T]):
    """The call for an item succeeded.

    Attributes:
        item: The item.
        value: What the call returned, or a record of the item's list.
        ok: True.
        error: None.
    """

    item: Item
    value: T
    ok: ClassVar[Literal[True]] = True
    error: ClassVar[None] = None


@attrs.frozen
class Failure(Serializable, Generic[Item]):
    """The call for an item failed.

    Attributes:
        item: The item.
        error: The exception that the call raised.
        ok: False.
    """

    item: Item
    error: Exception
    ok: ClassVar[Literal[False]] = False

    @property
    def value(self) -> Never:
        """Raises `error`."""
        # The type Never lets `[o.value.sid for o in outcomes if o.ok]` pass: type checkers do not
        # narrow a union by the truth of an attribute.
        try:
            raise self.error
        finally:
            del self  # the traceback of the error refers to this frame


Outcome: TypeAlias = Success[Item, T] | Failure[Item]

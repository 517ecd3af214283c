"""Values of subclasses that show themselves as something else than they are."""

from collections import UserDict
from collections.abc import Callable, Mapping
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from random import Random
from types import MappingProxyType
from typing import Any, Final


class ShownText(str):
    """Text that every conversion but the plain one shows as something else."""

    __slots__ = ()

    def __str__(self) -> str:
        return "shown"

    def __repr__(self) -> str:
        return "'shown'"

    def __format__(self, _: str) -> str:
        return "shown"

    def __len__(self) -> int:
        return 5

    def __getitem__(self, _: object) -> str:
        return "s"

    def encode(self, *_: object, **__: object) -> bytes:
        return b"shown"

    def strip(self, *_: object) -> str:
        return "shown"

    def lower(self) -> str:
        return "shown"


class ShownInt(int):
    def __int__(self) -> int:
        return 5

    __index__ = __int__

    def __str__(self) -> str:
        return "5"

    __repr__ = __str__

    def __format__(self, _: str) -> str:
        return "5"


class ShownFloat(float):
    def __float__(self) -> float:
        return 5.0

    def __str__(self) -> str:
        return "5.0"

    __repr__ = __str__


class ShownDecimal(Decimal):
    def __str__(self, *_: object) -> str:
        return "5"

    def __format__(self, *_: object) -> str:
        return "5"


class ShownBytes(bytes):
    def __bytes__(self) -> bytes:
        return b"shown"

    def __radd__(self, other: bytes) -> bytes:
        return other + b"shown"


class ShownList(list[Any]):
    pass


class ShownDict(dict[str, Any]):
    def __getitem__(self, _: str) -> Any:
        return "shown"


def _member(kind: Any, mixin: type | None = None) -> Callable[[Any], Any]:
    """Return a function that makes a value the member of a new enumeration."""
    return lambda value: kind("Class", {"MEMBER": value}, type=mixin).MEMBER


_DISGUISES: Final[Mapping[type, tuple[Callable[[Any], Any], ...]]] = {
    str: (ShownText, _member(Enum, str), _member(StrEnum)),
    int: (ShownInt, _member(Enum, int), _member(IntEnum)),
    float: (ShownFloat, _member(Enum, float)),
    Decimal: (ShownDecimal,),
    bytes: (ShownBytes,),
    list: (ShownList, tuple),
    dict: (ShownDict, MappingProxyType, UserDict),
}


def disguised(value: Any, random: Random) -> Any:
    """Return a value that is equal to `value` and shows itself as something else."""
    match value:
        case dict():
            value = {disguised(key, random): disguised(item, random) for key, item in value.items()}
        case list():
            value = [disguised(item, random) for item in value]
    kinds = _DISGUISES.get(type(value))
    return random.choice(kinds)(value) if kinds else value

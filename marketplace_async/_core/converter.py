"""The cattrs converter, which knows how records are written as JSON and read from it.

The rules are in `unstructuring` and `structuring`. The records know nothing of them.
"""

from functools import cache
from typing import Any, TypeVar

from cattrs import StructureHandlerNotFoundError
from cattrs.preconf.msgspec import MsgspecJsonConverter, configure_converter
from msgspec.json import Encoder

from . import lenient
from .documents import DocumentError, Path, problems_in
from .structuring import register_structure_hooks
from .unstructuring import exact_amount, plain_amount, register_unstructure_hooks

T = TypeVar("T")


class RecordConverter(MsgspecJsonConverter):
    """A cattrs converter to and from JSON. Its amounts keep each digit."""

    encoder: Encoder = Encoder(decimal_format="number")

    def loads(self, data: bytes, cl: type[T], **kwargs: Any) -> T:
        """Decode JSON and structure it. There are no options."""
        if kwargs:
            raise TypeError(f"loads() takes no options, got {', '.join(kwargs)}")
        # Numbers with a fraction become Decimals: a float would change an amount.
        return self.structure(parse(data), cl)


@cache
def json_converter(*, properties: bool = False) -> RecordConverter:
    """Return the converter for JSON text. It leaves amounts as Decimals, for its own encoder."""
    return _converter(exact=True, properties=properties)


@cache
def plain_converter(*, properties: bool = False) -> RecordConverter:
    """Return the converter for plain values, which every JSON library can encode."""
    return _converter(exact=False, properties=properties)


def _converter(*, exact: bool, properties: bool) -> RecordConverter:
    converter = RecordConverter()
    configure_converter(converter)
    amount = exact_amount if exact else plain_amount
    register_unstructure_hooks(converter, amount, properties=properties)
    register_structure_hooks(converter)
    return converter


def parse(data: bytes | str) -> Any:
    """Parse JSON. Numbers with a fraction become Decimals. The error contains no value."""
    return lenient.parse(data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data)


def read(document: Any, cls: type[T]) -> T:
    """Structure a document of plain values.

    Raises:
        DocumentError: It is not what `cls` needs. The error names each problem, and no value.
        TypeError: `cls` holds a type that JSON cannot be read as.
    """
    problems: tuple[tuple[Path, str], ...] = ()
    unreadable: Any = None
    try:
        return json_converter().structure(document, cls)
    except StructureHandlerNotFoundError as error:
        unreadable = error.type_
    except (ExceptionGroup, ValueError, RecursionError) as error:
        problems = tuple(problems_in(error))
    # Raised here: the traceback of that error refers to frames with values in them.
    if not problems:
        raise TypeError(f"cls: no JSON can be read as {unreadable!r}")
    raise DocumentError(cls, problems)

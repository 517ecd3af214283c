"""Records as plain dicts and as JSON, and back.

    json.dumps(to_dict(installed))
    body = to_json(installed)
    installed = from_json(body, InstalledAddOn)

They take every record, pages, the outcomes of `bulk` and the reports of jobs. A document has the
fields of the record under their names. Dates are written as the service writes them. Credentials
are left out.

A field that is unknown stays unknown: one that the response did not have is left out, and one that
could not be read is listed under "unreadable", with the JSON text of the response.
"""

from collections.abc import Mapping
from typing import Any, TypeVar, get_args, get_origin

from ._core.converter import RecordConverter, json_converter, parse, plain_converter, read
from ._core.records import Value
from ._core.unstructuring import is_value_class

__all__ = ["from_dict", "from_json", "make_converter", "to_dict", "to_json"]

T = TypeVar("T")


def to_dict(record: object, *, properties: bool = False) -> dict[str, Any]:
    """Return a record as a dict of plain values, which every JSON library can encode.

    An amount is an int if it is integral; a float if that reads back as the same decimal; otherwise
    text. Later changes of the dict do not affect the record. `json.dumps(..., default=to_dict)`
    encodes records wherever they are.

    Args:
        record: A record, a page, an outcome of `bulk`, or the report of a job. The credentials of
            an account are left out; those that are the item of an outcome are written as SIDs.
        properties: Whether to add properties such as `available_add_on_sid`.

    Raises:
        TypeError: It is none of these, or holds something that JSON cannot.
        ValueError: It holds NaN, text that is not Unicode, or a date without a time zone.
    """
    if not isinstance(record, Value):
        raise TypeError(f"record: expected a record, got {type(record).__name__}")
    document: dict[str, Any] = _written(plain_converter(properties=properties), record)
    return document


def to_json(record: object, *, properties: bool = False) -> bytes:
    """Return a record, or a list of records, as JSON in UTF-8. Amounts keep each digit.

    Args:
        record: As for `to_dict`; or a list or tuple of such values.
        properties: Whether to add properties such as `available_add_on_sid`.

    Raises:
        TypeError, ValueError: As for `to_dict`.
    """
    if not isinstance(record, Value | list | tuple):
        raise TypeError(
            f"record: expected a record or a list of records, got {type(record).__name__}"
        )
    converter = json_converter(properties=properties)
    encoded: bytes = converter.encoder.encode(_written(converter, record))
    return encoded


def from_dict(document: Mapping[str, Any], cls: type[T]) -> T:
    """Return the record that `to_dict` was called with.

    A key that the record does not have is ignored. A key that is missing leaves the field unknown:
    see `record.unreadable`. Amounts may be ints, floats, text or Decimals.

    Args:
        document: A dict from `to_dict`, or from any parser of JSON.
        cls: The class, such as `InstalledAddOn` or `Page[InstalledAddOn]`.

    Raises:
        ValueError: It is not such a document. The message names each problem, and no value.
        TypeError: `document` is not a mapping, or `cls` is not the class of a record.
    """
    if not isinstance(document, Mapping):
        raise TypeError(f"document: expected a mapping, got {type(document).__name__}")
    if not is_value_class(cls):
        raise TypeError(f"cls: expected a class such as InstalledAddOn, got {cls!r}")
    return read(document, cls)


def from_json(data: bytes | str, cls: type[T]) -> T:
    """Return the record, or the list of records, that `to_json` was called with.

    Args:
        data: JSON text.
        cls: The class, as for `from_dict`; or a list of it, such as `list[InstalledAddOn]`.

    Raises:
        ValueError: It is not JSON, or not such a document. The message names each problem, and no
            value.
        TypeError: `data` is neither bytes nor text, or `cls` is not the class of a record.
    """
    if not isinstance(data, bytes | bytearray | str):
        raise TypeError(f"data: expected bytes or text, got {type(data).__name__}")
    if not is_value_class(get_args(cls)[0] if get_origin(cls) in (list, tuple) else cls):
        raise TypeError(f"cls: expected a class such as InstalledAddOn, got {cls!r}")
    return read(parse(data), cls)


def make_converter(*, properties: bool = False) -> RecordConverter:
    """Return a cattrs converter that knows the records of this package.

    Use it for your own classes that hold records: `converter.dumps(mine)` returns JSON in UTF-8,
    and `converter.loads(data, Mine)` reads it. Register hooks for types of your own, or other hooks
    for ours. It is a converter of your own: what you register affects nothing else. Its
    `unstructure` returns amounts as Decimals, because its encoder writes them digit for digit.

    Args:
        properties: Whether to add properties such as `available_add_on_sid`.

    See https://catt.rs
    """
    return json_converter(properties=properties).copy()


def _written(converter: RecordConverter, record: object) -> Any:
    try:
        return converter.unstructure(record)
    except RecursionError:
        reason = "record: nested too deeply, or contains itself"
    raise ValueError(reason)

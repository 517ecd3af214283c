"""A parsed API call, and the checks of its parameters."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias, TypeVar
from urllib.parse import parse_qsl

import attrs
import msgspec

from .responses import ErrorResponse

T = TypeVar("T")

Document: TypeAlias = dict[str, Any]
Response: TypeAlias = tuple[int, Document | None]


@attrs.frozen(kw_only=True)
class Call:
    """One authenticated and parsed request."""

    account_sid: str
    base_url: str
    method: str
    path: str
    segments: Mapping[str, str]
    query: Mapping[str, str]
    content_type: str
    body: bytes

    def form(self) -> dict[str, str]:
        """Return the form fields. As with Twilio, a body of another type has none."""
        if self.content_type != "application/x-www-form-urlencoded":
            return {}
        try:
            text = self.body.decode("ascii")
            # An empty value counts as a missing field.
            return dict(parse_qsl(text, errors="strict", max_num_fields=100))
        except ValueError as error:
            raise ErrorResponse("body", why=error) from None

    def json(self, cls: type[T]) -> T:
        """Return the JSON body as an instance of `cls`."""
        return _parse_json(self.body, cls, "body")

    def not_found(self) -> ErrorResponse:
        """Return the 404 for the path of this call."""
        return ErrorResponse("not_found", path=self.path)

    def select(self, documents: Iterable[Document], sid: str) -> Document:
        """Return the document with this SID. Raises the 404 if no document has it."""
        for document in documents:
            if document["sid"] == sid:
                return document
        raise self.not_found()


Operation: TypeAlias = Callable[[Call], Response]


def _parse_json(data: bytes | str, cls: type[T], error_name: str, **values: object) -> T:
    try:
        return msgspec.json.decode(data, type=cls)
    except RecursionError:
        raise ErrorResponse(error_name, why="nested too deeply", **values) from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise ErrorResponse(error_name, why=error, **values) from None


def required(fields: Mapping[str, str], name: str) -> str:
    if name not in fields:
        raise ErrorResponse("parameter_missing", name=name)
    return fields[name]


def boolean(fields: Mapping[str, str], name: str) -> bool:
    """Return a required form field as a boolean."""
    text = required(fields, name).lower()
    if text not in ("true", "false"):
        raise ErrorResponse("parameter_invalid", name=name, why="must be true or false")
    return text == "true"


def json_object(fields: Mapping[str, str], name: str) -> Document | None:
    """Return an optional form field that contains a JSON object."""
    text = fields.get(name)
    return None if text is None else _parse_json(text, Document, "parameter_invalid", name=name)


def check_sid(prefix: str, sid: str, name: str) -> None:
    if not re.fullmatch(f"{prefix}[0-9a-fA-F]{{32}}", sid):
        why = f"must be {prefix} and 32 hex digits"
        raise ErrorResponse("parameter_invalid", name=name, why=why)

"""The OpenAPI description of the control API, made from the table of its routes."""

import inspect
import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import attrs
import msgspec

from .._version import __version__
from .control_records import Problem

_TEMPLATE = "#/components/schemas/{name}"
_ATTRIBUTE = re.compile(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)


@attrs.frozen
class Number:
    """A whole number in the query of a route, or in its path. Required without a default."""

    name: str
    description: str
    minimum: int
    maximum: int
    default: int | None = None

    @property
    def schema(self) -> dict[str, Any]:
        schema = {"type": "integer", "minimum": self.minimum, "maximum": self.maximum}
        return schema if self.default is None else {**schema, "default": self.default}

    def parse(self, text: str | None) -> int:
        """Return the value. Raises ValueError."""
        if text is None and self.default is not None:
            return self.default
        number = int(text) if text and text.isascii() and text.isdecimal() else -1
        if not self.minimum <= number <= self.maximum:
            bounds = f"from {self.minimum} to {self.maximum}"
            raise ValueError(f"{self.name}: must be a whole number {bounds}, got {text!r}")
        return number


@attrs.frozen
class Sid:
    """An optional SID in the query of a route."""

    name: str
    description: str
    prefix: str

    @property
    def pattern(self) -> str:
        return f"^{self.prefix}[0-9a-fA-F]{{32}}$"

    @property
    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": self.pattern}

    def parse(self, text: str | None) -> str | None:
        """Return the value. Raises ValueError."""
        if text is not None and not re.fullmatch(self.pattern.strip("^$"), text):
            raise ValueError(f"{self.name}: must be {self.prefix} and 32 hex digits, got {text!r}")
        return text


@attrs.frozen(kw_only=True)
class Route:
    """A route of the control API.

    Attributes:
        method: The HTTP method.
        path: The path below `/_emulator`, with `{name}` for each path parameter.
        summary: What it does.
        handle: The name of the method of `Control` that handles it.
        accepts: The class of the JSON body, if it has one.
        returns: The class of the response body. None for a response without a body.
        status: The status of the response.
        parameters: The parameters of the path and the query.
        streams: Whether it can respond with server-sent events.
    """

    method: str
    path: str
    summary: str
    handle: str
    accepts: type[Any] | None = None
    returns: type[Any] | None = None
    status: int = 200
    parameters: tuple[Number | Sid, ...] = ()
    streams: bool = False


def describe(root: str, routes: Iterable[Route]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 description of routes.

    Args:
        root: The path that all routes have in common.
        routes: The routes.
    """
    routes = list(routes)
    classes = {cls for route in routes for cls in (route.accepts, route.returns) if cls}
    _, schemas = msgspec.json.schema_components(
        sorted({*classes, Problem}, key=lambda cls: cls.__name__), ref_template=_TEMPLATE
    )
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(root + route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Control API of the Marketplace emulator",
            "version": __version__,
            "description": "Looks into a running emulator, changes its state, and injects faults.",
        },
        "paths": paths,
        "components": {
            "schemas": {
                name: _explained(schema, cls)
                for name, schema in schemas.items()
                for cls in [_class_named(name, classes)]
            }
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {"operationId": route.handle, "summary": route.summary}
    if route.parameters:
        operation["parameters"] = [
            _parameter(parameter, f"{{{parameter.name}}}" in route.path)
            for parameter in route.parameters
        ]
    if route.accepts is not None:
        operation["requestBody"] = {"required": True, "content": _json(route.accepts)}
    success: dict[str, Any] = {"description": HTTPStatus(route.status).phrase}
    if route.returns is not None:
        success["content"] = _json(route.returns)
    if route.streams:
        success["content"]["text/event-stream"] = {"schema": {"type": "string"}}
    problems = {403: "The Host, Origin or Sec-Fetch-Site header is of another site"}
    if route.parameters or route.accepts:
        problems[400] = "The request is invalid. The message says why"
    if any(f"{{{parameter.name}}}" in route.path for parameter in route.parameters):
        problems[404] = "Not found"
    if route.accepts:
        problems |= {413: "The body is too large", 415: "The body is not declared as JSON"}
    operation["responses"] = {
        str(route.status): success,
        **{
            str(status): {"description": text, "content": _json(Problem)}
            for status, text in sorted(problems.items())
        },
    }
    return operation


def _parameter(parameter: Number | Sid, in_path: bool) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": "path" if in_path else "query",
        "required": in_path,
        "description": parameter.description,
        "schema": parameter.schema,
    }


def _json(cls: type[Any]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _TEMPLATE.format(name=cls.__name__)}}}


def _class_named(name: str, classes: Iterable[type[Any]]) -> type[Any] | None:
    """Return the class of a schema: one of `classes`, or one that their fields name."""
    pending, seen = [*classes, Problem], set()
    while pending:
        cls = pending.pop()
        if cls in seen or not isinstance(cls, type) or not attrs.has(cls):
            continue
        if cls.__name__ == name:
            return cls
        seen.add(cls)
        for field in attrs.fields(cls):
            pending += [field.type, *_arguments(field.type)]
    return None


def _arguments(type_: Any) -> list[Any]:
    arguments = list(getattr(type_, "__args__", ()))
    return [*arguments, *(each for one in arguments for each in _arguments(one))]


def _explained(schema: dict[str, Any], cls: type[Any] | None) -> dict[str, Any]:
    """Move what the docstring of a class says about its attributes to the properties."""
    text = inspect.getdoc(cls) or ""
    summary, _, attributes = text.partition("\n\nAttributes:\n")
    descriptions = {
        name: " ".join(description.split()) for name, description in _ATTRIBUTE.findall(attributes)
    }
    init = {field.name for field in attrs.fields(cls) if field.init} if cls else set()
    properties = {
        name: {
            **_as_number(property_),
            **({"description": descriptions[name]} if name in descriptions else {}),
            **({} if name in init else {"readOnly": True}),
        }
        for name, property_ in schema.get("properties", {}).items()
    }
    closed = {"additionalProperties": False} if properties else {}
    return {**schema, "description": " ".join(summary.split()), "properties": properties, **closed}


def _as_number(schema: dict[str, Any]) -> dict[str, Any]:
    """The control API writes decimals as numbers."""
    return {"type": "number"} if schema.get("format") == "decimal" else schema

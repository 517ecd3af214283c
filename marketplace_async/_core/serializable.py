"""How pydantic reads and writes our values, so that FastAPI takes them as they are.

pydantic is imported when it asks for the schema of a class, and never otherwise.
"""

import inspect
import re
import types
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import attrs

from .converter import plain_converter, read
from .documents import DocumentError
from .records import Value
from .unstructuring import HIDDEN, constants_of, is_value_class

_ATTRIBUTE = re.compile(r"^ {4}(\w+): (.+(?:\n {8}.+)*)", re.MULTILINE)


class Serializable(Value):
    """The base class of values that pydantic can read and write."""

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        return _core_schema(source, handler)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> Any:
        return _described(cls, handler.resolve_ref_schema(handler(core_schema)))


def _core_schema(source: Any, handler: Any) -> Any:
    from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError, core_schema

    origin = get_origin(source) or source

    def validate(value: Any, _: Any) -> Any:
        if isinstance(value, origin):
            return value
        try:
            return read(value, source)
        except DocumentError as error:
            problems = error.problems
        # The input is left out: it may hold secrets, and errors are logged.
        raise ValidationError.from_exception_data(
            origin.__name__,
            [
                InitErrorDetails(
                    type=PydanticCustomError("value_error", "{problem}", {"problem": text}),
                    loc=path,
                    input=None,
                )
                for path, text in problems
            ],
        )

    arguments = dict(zip(getattr(origin, "__parameters__", ()), get_args(source), strict=False))
    fields = {
        name: core_schema.typed_dict_field(handler.generate_schema(Literal[value]), required=False)
        for name, value in constants_of(origin).items()
    }
    for field in attrs.fields(origin):
        if field.name != HIDDEN:
            fields[field.name] = core_schema.typed_dict_field(
                handler.generate_schema(_json_type(field.type, arguments)),
                required=field.default is attrs.NOTHING,
            )
    # The inner schema only describes the document: `validate` never calls it.
    return core_schema.no_info_wrap_validator_function(
        validate,
        core_schema.typed_dict_schema(fields),
        serialization=core_schema.plain_serializer_function_ser_schema(_to_plain),
        ref=_reference(source),
    )


def _to_plain(value: Any) -> Any:
    return plain_converter().unstructure(value)


def _reference(type_: Any) -> str:
    """Return a name for a type, from which pydantic derives the name in a JSON Schema."""
    origin = get_origin(type_) or type_
    if not isinstance(origin, type):
        return "Any"
    name = f"{origin.__module__}.{origin.__qualname__}:{id(origin)}"
    arguments = get_args(type_)
    return f"{name}[{','.join(map(_reference, arguments))}]" if arguments else name


def _json_type(type_: Any, arguments: dict[Any, Any]) -> Any:
    """Return the type of what stands for a type in JSON."""
    origin = get_origin(type_)
    members = get_args(type_)
    if isinstance(type_, TypeVar):
        return _json_type(arguments.get(type_, Any), {})
    if type_ is Decimal:
        return float | str
    if origin is Annotated:
        return members[0]
    if origin in (Union, types.UnionType):
        return Union[tuple(_json_type(member, arguments) for member in members)]  # noqa: UP007
    if origin is tuple:
        return types.GenericAlias(tuple, (_json_type(members[0], arguments), ...))
    if origin is dict:
        return types.GenericAlias(dict, (str, _json_type(members[1], arguments)))
    if is_value_class(type_) or not isinstance(type_, type):
        return type_
    is_object = issubclass(type_, BaseException) or attrs.has(type_)
    return dict[str, Any] if is_object else type_


def _described(cls: type[Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Add what the docstring of a class says to its JSON Schema."""
    text = inspect.cleandoc(cls.__doc__ or "")
    schema["title"] = cls.__name__
    schema["description"] = text.partition("\n\n")[0].replace("\n", " ")
    for name, description in _ATTRIBUTE.findall(text):
        if name in schema.get("properties", {}):
            schema["properties"][name]["description"] = re.sub(r"\s+", " ", description)
    return schema

"""Options that are JSON objects: given as text, as `@file`, or as `-` for standard input."""

import json
import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from cyclopts import Parameter, Token


def read_json_object(_: object, tokens: Sequence[Token]) -> dict[str, Any]:
    """Turn what was given for an option into a JSON object, with every digit of its numbers.

    Raises:
        ValueError: It is none, or would not arrive as it was written; the message says where.
    """
    (token,) = tokens
    text, where = token.value, "it"
    try:
        if text == "-":
            text, where = sys.stdin.read(), "standard input"
        elif text.startswith("@"):
            where = text[1:]
            text = Path(where).read_text(encoding="utf-8")
        value = json.loads(
            text,
            parse_float=_exact,
            parse_constant=_no_constant,
            object_pairs_hook=_no_key_twice,
        )
    except OSError as error:
        raise ValueError(f"{where} cannot be read: {error.strerror}.") from None
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{where} is no JSON: {error.msg}, in line {error.lineno}, column {error.colno}."
        ) from None
    except UnicodeDecodeError:
        raise ValueError(f"{where} is not UTF-8.") from None
    except RecursionError:
        raise ValueError(f"{where} is nested too deeply.") from None
    if not isinstance(value, dict):
        raise ValueError(f'{where} is no JSON object, such as {{"bad_words": true}}.')
    return value


def _exact(text: str) -> float:
    number = float(text)
    if Decimal(repr(number)) != Decimal(text):
        raise ValueError(f"{text} would be sent as {number!r}: give such a number as text.")
    return number


def _no_constant(text: str) -> float:
    raise ValueError(f"JSON has no {text}.")


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f'the key "{twice}" is there twice.')
    return value


_JSON = Parameter(
    converter=read_json_object,
    accepts_keys=False,
    n_tokens=1,
    negative=(),
    allow_leading_hyphen=True,
)

JsonObject: TypeAlias = Annotated[dict[str, Any], _JSON]
JsonObjectOrNone: TypeAlias = Annotated[dict[str, Any] | None, _JSON]

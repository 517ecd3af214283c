"""JSON object options: text, `@FILE`, or `-` for standard input."""

import json
import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from cyclopts import Parameter, Token


def read_json_object(_: object, tokens: Sequence[Token]) -> dict[str, Any]:
    """Parse the value of an option as a JSON object, without loss of precision.

    Raises:
        ValueError: It is not a JSON object, or would change when sent.
    """
    (token,) = tokens
    text, source = token.value, ""
    try:
        if text == "-":
            text, source = sys.stdin.read(), "standard input: "
        elif text.startswith("@"):
            source = f"{text[1:]}: "
            text = Path(text[1:]).read_text(encoding="utf-8")
        value = json.loads(
            text,
            parse_float=_exact_float,
            parse_constant=_reject_constant,
            object_pairs_hook=_unique_keys,
        )
    except OSError as error:
        raise ValueError(f"{source}{error.strerror}.") from None
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{source}not JSON: {error.msg}, line {error.lineno}, column {error.colno}."
        ) from None
    except UnicodeDecodeError:
        raise ValueError(f"{source}not UTF-8.") from None
    except RecursionError:
        raise ValueError(f"{source}nested too deeply.") from None
    if not isinstance(value, dict):
        raise ValueError(f'{source}not a JSON object, such as {{"bad_words": true}}.')
    return value


def _exact_float(text: str) -> float:
    number = float(text)
    if Decimal(repr(number)) != Decimal(text):
        raise ValueError(f"{text} would be sent as {number!r}; use a string instead.")
    return number


def _reject_constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON.")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        duplicate = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f'duplicate key "{duplicate}".')
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

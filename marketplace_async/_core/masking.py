"""Masking: keeps secrets out of text that is shown, logged or saved."""

import json
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final, Protocol
from urllib.parse import quote, quote_plus

MASK: Final = "***"
# Anything shorter is no secret, and occurs by chance.
_SHORTEST: Final = 4


class Revealing(Protocol):
    """A secret that repr() does not show."""

    def reveal(self) -> str: ...


def redacted(text: str, secrets: Iterable[str]) -> str:
    """Mask secrets in a text, such as a message of the service that quotes a rejected value."""
    return _replaced(text, _forms(secrets))


def redacted_bytes(content: bytes, secrets: Iterable[str], *, is_cut: bool = False) -> bytes:
    """Mask secrets in encoded text, such as a JSON document or a page.

    Text that `is_cut` may end in a part of a secret, which is masked as well.
    """
    forms = [form.encode() for form in _forms(secrets)]
    for form in forms:
        content = content.replace(form, MASK.encode())
    if is_cut:
        for form in forms:
            for size in range(len(form) - 1, _SHORTEST - 1, -1):
                if content.endswith(form[:size]):
                    return content[:-size] + MASK.encode()
    return content


def redacted_json(value: Any, secrets: Iterable[str]) -> Any:
    """Return a copy of plain JSON in which secrets are masked in every text, keys included."""
    forms = _forms(secrets)

    def masked(value: Any) -> Any:
        match value:
            case str():
                return _replaced(value, forms)
            case dict():
                return {masked(key): masked(item) for key, item in value.items()}
            case list():
                return [masked(item) for item in value]
            case _:
                return value

    try:
        return masked(value)
    except RecursionError:
        return None


def secrets_in(authorization: str) -> tuple[str, ...]:
    """Return the secrets in the value of an Authorization header, or in a plain secret."""
    scheme, space, value = authorization.partition(" ")
    if not space:
        value = authorization
    secrets = [value, value.rstrip("=")]
    if scheme == "Basic":
        with suppress(Base64Error, UnicodeDecodeError):
            secrets.append(b64decode(value).decode().partition(":")[2])
    return tuple(secret for secret in secrets if len(secret) >= _SHORTEST)


def secrets_of(secrets: Iterable[Revealing]) -> tuple[str, ...]:
    """Return the secrets in each of these header values, or plain secrets."""
    return tuple(text for secret in secrets for text in secrets_in(secret.reveal()))


def _replaced(text: str, forms: Iterable[str]) -> str:
    for form in forms:
        text = text.replace(form, MASK)
    return text


def _forms(secrets: Iterable[str]) -> list[str]:
    """Return the forms in which secrets are quoted, longest first: one may be part of another."""
    forms: set[str] = set()
    for secret in secrets:
        if len(secret) < _SHORTEST:
            continue
        escaped = json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]
        forms.update(
            (secret, *escaped, *(form.replace("/", "\\/") for form in escaped), repr(secret)[1:-1])
        )
        forms.update((quote(secret), quote(secret, safe=""), quote_plus(secret)))
        markup = secret.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        forms.update((markup, markup.replace('"', "&quot;").replace("'", "&#x27;")))
    return sorted(forms - {""}, key=len, reverse=True)

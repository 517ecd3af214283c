"""Cassettes without secrets: what vcrpy records of this package can be committed.

vcrpy replaces `aiohttp.ClientSession._request`, which a client bypasses. With these arguments, each
client sends its requests there while a cassette is in use.
"""

import json
import re
import zlib
from base64 import b64decode
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from .._core import session
from .._core.frames import hide_arguments
from .._core.masking import MASK, redacted, redacted_bytes, secrets_of
from .._core.messages import FORM, Request
from ..credentials import Secret

# The fields of Twilio's responses and requests that hold credentials.
_FIELDS: Final = (
    "(?:secondary_?)?auth_?token|(?:access|refresh|id)_?token|(?:client_?|key_?)?secret|password"
)
_IN_FORM: Final = re.compile(_FIELDS, re.IGNORECASE)
_IN_JSON: Final = re.compile(
    rf'(?i)("(?:{_FIELDS})"\s*:\s*)("(?:[^"\\]|\\.)*+(?:"|\\?\Z))'.encode(), re.DOTALL
)
_IN_XML: Final = re.compile(rb"(<(?:AuthToken|Secret)>)([^<]*)")
_IN_QUERY: Final = re.compile(r"(?i)([?&](?:[\w-]*(?:signature|token|credential)))=[^&#]*")
# In a body, `PageToken` stays: a replay goes on from the link that holds it. JSON may escape "&"
# and "/".
_SIGNED: Final = re.compile(
    rb"(?i)((?:[?&]|\\u0026|&amp;)[\w-]*(?:signature|credential|security-token))="
    rb"(?:[^&#\"'\s<>\\]|\\/)*"
)
# The headers of a request that are compared: what it asks for, and for which account.
_REQUEST_HEADERS: Final = ("Accept", "Content-Type", "Authorization")
# Of a response, the headers that are known to hold no secret.
_RESPONSE_HEADERS: Final = re.compile(
    "date|server|via|vary|etag|connection|keep-alive|content-(?:type|length)|transfer-encoding"
    "|retry-after|location|cache-control|expires|x-cache|x-amz-cf-.*|twilio-.*|access-control-.*"
    "|strict-transport-security|x-(?:home-region|api-domain|powered-by|shenanigans)"
    "|www-authenticate",
    re.IGNORECASE,
)
_USER: Final = re.compile(r"(?:(?:AC|SK)[0-9a-fA-F]{32}|Bearer):\*\*\*")
# Anything shorter occurs by chance: of what is given, and of what a field of a response holds.
_SHORTEST: Final = 4
_SHORTEST_FIELD: Final = 16


@hide_arguments
def scrubbed(*, secrets: Iterable[str | Secret] = ()) -> dict[str, Any]:
    """Return arguments for `vcr.VCR`, so that its cassettes hold no credentials.

        with vcr.VCR(**scrubbed()).use_cassette("accounts.yaml"):
            async with MarketplaceClient.from_env() as client:
                accounts = await client.accounts.list().collect()

    The credentials of each client, the auth tokens of accounts and subaccounts, key secrets and
    access tokens are replaced by `***`, wherever they occur. Of a request, the account stays: two
    clients that record the same request are told apart. Unknown headers are left out. A replay
    returns what was recorded, with `***` in the place of secrets.

    Args:
        secrets: More to replace, such as a password in the configuration of an Add-on. Each has at
            least 4 characters. On replay, use `***` instead: that is what the cassette holds.

    Returns:
        Arguments for `vcr.VCR`, for its `use_cassette`, or for the fixture `vcr_config` of
        pytest-recording. vcrpy is not installed with this package.

    Raises:
        ValueError, TypeError: A secret is too short, or not text.
    """
    scrubber = _Scrubber()
    if isinstance(secrets, str | Secret):
        raise TypeError("secrets: expected several, such as a list, got one")
    for each in secrets:
        text = (each if isinstance(each, Secret) else Secret(each)).reveal()
        if len(text) < _SHORTEST and text != MASK:
            raise ValueError(f"secrets: each must have at least {_SHORTEST} characters")
        scrubber.learn(text)
    return {
        "before_record_request": scrubber.request,
        "before_record_response": scrubber.response,
        "match_on": ("method", "scheme", "host", "port", "path", "query", "headers", "body"),
        # vcrpy sets each for as long as a cassette is in use.
        "custom_patches": (
            (session, "_direct", False),
            (session.Session, "_headers", scrubber.headers_of(session.Session._headers)),
        ),
    }


class _Scrubber:
    """Masks the secrets that it has seen, and the fields that hold secrets."""

    def __init__(self) -> None:
        # By text, in the order in which they were seen.
        self._secrets: dict[str, None] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._secrets)} secrets>"

    def learn(self, secret: str) -> None:
        if len(secret) >= _SHORTEST:
            self._secrets[secret] = None

    def headers_of(self, headers: Callable[..., dict[str, str]]) -> Callable[..., dict[str, str]]:
        """Return a method that also shows vcrpy whose request it is.

        aiohttp receives the credentials afterwards, in place of this header.
        """

        def with_user(
            of: session.Session, request: Request, authorization: Secret | None
        ) -> dict[str, str]:
            shown = headers(of, request, authorization)
            for secret in secrets_of(of.secrets):
                self.learn(secret)
            if authorization is not None:
                for secret in secrets_of([authorization]):
                    self.learn(secret)
                shown["Authorization"] = _user(authorization)
            return shown

        return with_user

    def request(self, request: Any) -> Any:
        """Scrub a request of vcrpy before it is compared or saved."""
        found = request.headers
        kept = {name: found[name] for name in _REQUEST_HEADERS if name in found}
        if not _USER.fullmatch(str(kept.get("Authorization", ""))):
            kept.pop("Authorization", None)
        request.headers = kept
        request.uri = redacted(_IN_QUERY.sub(rf"\1={MASK}", request.uri), self._secrets)
        body = request.body
        if hasattr(body, "_value"):  # aiohttp's wrapper
            body = body._value
        if isinstance(body, str):
            body = body.encode()
        if isinstance(body, bytes):
            is_form = str(kept.get("Content-Type", "")).startswith(FORM)
            request.body = self._form(body) if is_form else self._text(body)
        return request

    def response(self, response: dict[str, Any]) -> dict[str, Any]:
        """Scrub a response of vcrpy before it is saved."""
        content = response["body"].get("string") or b""
        content = content.encode() if isinstance(content, str) else content
        plain = _decompressed(content)
        scrubbed = self._text(plain)
        headers = {}
        for name, values in response["headers"].items():
            if _RESPONSE_HEADERS.fullmatch(name):
                several = [values] if isinstance(values, str) else values
                headers[name] = [
                    redacted(_IN_QUERY.sub(rf"\1={MASK}", value), self._secrets)
                    for value in several
                ]
                if name.lower() == "content-length" and scrubbed != content:
                    headers[name] = [str(len(scrubbed))]
        return {**response, "headers": headers, "body": {"string": scrubbed}}

    def _text(self, content: bytes) -> bytes:
        """Mask secrets in JSON, XML or any other text."""
        for pattern in (_IN_JSON, _IN_XML):
            for match in pattern.finditer(content):
                self._learn_field(_unquoted(match[2]))
        content = _IN_JSON.sub(rb'\1"' + MASK.encode() + b'"', content)
        content = _IN_XML.sub(rb"\1" + MASK.encode(), content)
        content = _SIGNED.sub(rb"\1=" + MASK.encode(), content)
        return redacted_bytes(content, self._secrets)

    def _form(self, body: bytes) -> bytes:
        fields = parse_qsl(body.decode(errors="replace"), keep_blank_values=True)
        for name, value in fields:
            if _IN_FORM.fullmatch(name):
                self._learn_field(value)
        # A field such as `Configuration` holds JSON.
        scrubbed = [
            (name, MASK if _IN_FORM.fullmatch(name) else self._text(value.encode()).decode())
            for name, value in fields
        ]
        return urlencode(scrubbed).encode()

    def _learn_field(self, secret: str) -> None:
        if len(secret) >= _SHORTEST_FIELD:
            # It may occur elsewhere, and in later messages.
            self.learn(secret)


def _user(authorization: Secret) -> str:
    """Return who sends a request, without the secret."""
    scheme, _, encoded = authorization.reveal().partition(" ")
    if scheme == "Basic":
        with suppress(ValueError):
            return f"{b64decode(encoded).decode().partition(':')[0]}:{MASK}"
    return f"{scheme}:{MASK}"


def _unquoted(value: bytes) -> str:
    text = value.decode(errors="replace")
    with suppress(ValueError):
        text = str(json.loads(text, strict=False))
    return text.strip('"')


def _decompressed(content: bytes) -> bytes:
    """Return a body that aiohttp left compressed as plain text, so that it can be scrubbed."""
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        return zlib.decompress(content, 16 + zlib.MAX_WBITS)
    except zlib.error:
        return b""


__all__ = ["scrubbed"]

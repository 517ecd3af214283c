"""Webhooks from Twilio: verify their signatures, and read the results of Add-ons in them.

    signature = headers.get("X-Twilio-Signature")
    webhooks.verify(url=url, body=body, signature=signature, auth_token=token)
    results = webhooks.parse_add_ons(form["AddOns"])
    if results["transcription"].ok:
        ...

Both are plain functions. They depend on no web framework and send nothing.
"""

import hashlib
import hmac
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias
from urllib.parse import SplitResult, parse_qs, parse_qsl, urlsplit

import attrs

from ._core.codec import from_json
from .credentials import Secret
from .errors import WebhookError

__all__ = ["AddOnPayload", "AddOnResult", "AddOnResults", "Fields", "parse_add_ons", "verify"]

Fields: TypeAlias = Mapping[str, str | Iterable[str]] | Iterable[tuple[str, str | Iterable[str]]]
"""Form fields: a mapping of names to a value or several, or pairs of them."""

_DONE = ("successful", "completed")
_PORTS = {"https": 443, "http": 80}


def verify(
    *,
    url: str,
    body: bytes | str | Fields = b"",
    signature: str | None,
    auth_token: str | Secret | Iterable[str | Secret] = (),
    settings: str | None = None,
    shared_keys: Mapping[str, str | Secret] | None = None,
    public_url: str | None = None,
) -> None:
    """Verify that Twilio sent a request and that it was not changed. Return None if so.

    Args:
        url: The URL that was requested, with its query.
        body: The body as it arrived. Fields of a form may be given as a mapping of lists or as
            pairs instead. A JSON body must be given as it arrived.
        signature: The `X-Twilio-Signature` header; None if the request has none.
        auth_token: The auth token of the account. Pass several during a rotation, or for
            many subaccounts.
        settings: The `X-Twilio-Webhooks-Signature-Settings` header, if the request has one. It
            names the shared key that signed the request with HMAC-SHA256.
        shared_keys: The secrets of your shared keys, by key.
        public_url: The scheme and host that Twilio sees, such as "https://example.com", if a proxy
            stands in front of your service. It replaces those of `url`, and its path is put before
            the path of `url`.

    Raises:
        WebhookError: The signature is missing or wrong, or the body does not match it.

    See https://www.twilio.com/docs/usage/webhooks/webhooks-security
    """
    # Rebound at once: this frame must not hold a secret as text when it raises.
    auth_token = _secrets(auth_token)
    secrets_by_key = {name: _secret(key) for name, key in (shared_keys or {}).items()}
    shared_keys = None
    if not isinstance(signature, str) or not signature:
        raise WebhookError("the request has no X-Twilio-Signature header")
    if settings is None:
        keys, digest = auth_token, "sha1"
        if not keys:
            raise WebhookError("the request is signed with an auth token, and none was given")
    else:
        keys, digest = (_shared_key(settings, secrets_by_key),), "sha256"
    if public_url is not None:
        url = _with_public_base(url, public_url)
    signed = _body_text(url, body)
    for candidate in _with_and_without_port(url):
        message = (candidate + signed).encode("utf-8", "surrogateescape")
        for key in keys:
            if _matches(message, key, digest, signature):
                return
    raise WebhookError("the signature does not match the request")


def _matches(message: bytes, key: Secret, digest: str, signature: str) -> bool:
    expected = b64encode(hmac.digest(key.reveal().encode(), message, digest))
    return hmac.compare_digest(expected, signature.strip().encode("utf-8", "surrogateescape"))


def _secret(value: str | Secret) -> Secret:
    return value if isinstance(value, Secret) else Secret(value)


def _secrets(values: str | Secret | Iterable[str | Secret]) -> tuple[Secret, ...]:
    if isinstance(values, str | Secret):
        return (_secret(values),)
    return tuple(_secret(value) for value in values)


def _shared_key(settings: str, shared_keys: Mapping[str, Secret]) -> Secret:
    parts = (part.strip().partition("=") for part in settings.split(","))
    fields = {name: value for name, _, value in parts}
    algorithm = fields.get("algorithm")
    if algorithm != "HMAC_SHA256":
        raise WebhookError(f"the request is signed with an unknown algorithm, {algorithm!r}")
    name = fields.get("key", "")
    if name not in shared_keys:
        raise WebhookError(f"the request is signed with the shared key {name!r}, which is unknown")
    return shared_keys[name]


def _body_text(url: str, body: bytes | str | Fields) -> str:
    """Return the text that a signature covers in addition to the URL."""
    digests = parse_qs(_split(url).query, keep_blank_values=True).get("bodySHA256", [])
    if digests:
        if not isinstance(body, bytes | str):
            raise WebhookError("this request has a JSON body: pass it as it arrived")
        raw = body.encode() if isinstance(body, str) else body
        actual = hashlib.sha256(raw).hexdigest().encode()
        given = digests[0].lower().encode("utf-8", "surrogateescape")
        if len(digests) > 1 or not hmac.compare_digest(actual, given):
            raise WebhookError("the body does not match the bodySHA256 of the URL")
        return ""
    values: dict[str, set[str]] = {}
    for name, value in _fields(body):
        values.setdefault(name, set()).add(value)
    return "".join(name + value for name in sorted(values) for value in sorted(values[name]))


def _fields(body: bytes | str | Fields) -> Iterator[tuple[str, str]]:
    if isinstance(body, bytes):
        body = body.decode("utf-8", "surrogateescape")
    if isinstance(body, str):
        yield from parse_qsl(body, keep_blank_values=True, errors="surrogateescape")
        return
    for name, value in body.items() if isinstance(body, Mapping) else body:
        for each in (value,) if isinstance(value, str) else value:
            if not isinstance(name, str) or not isinstance(each, str):
                raise WebhookError("this body is not a form: pass it as it arrived")
            yield name, each


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in _PORTS or not parts.hostname:
        raise WebhookError(f"{url!r} is not a URL that Twilio can have requested")
    return parts


def _with_public_base(url: str, public_url: str) -> str:
    parts, public = _split(url) if "://" in url else urlsplit(url), _split(public_url)
    path = public.path.rstrip("/") + parts.path
    return SplitResult(public.scheme, public.netloc, path, parts.query, "").geturl()


def _with_and_without_port(url: str) -> Iterator[str]:
    # Twilio signs some URLs with their port and some without.
    yield url
    parts = _split(url)
    if parts.port is None:
        netloc = f"{parts.netloc}:{_PORTS[parts.scheme]}"
    else:
        netloc = re.sub(r":\d*\Z", "", parts.netloc)
    start = url.index("://") + 3
    yield url[:start] + netloc + url[start + len(parts.netloc) :]


@attrs.frozen
class AddOnPayload:
    """One payload of the result of a recording Add-on.

    Attributes:
        content_type: Its media type.
        url: Where to fetch it.
    """

    content_type: str | None = None
    url: str | None = None


@attrs.frozen
class AddOnResult:
    """The result of one Add-on.

    Attributes:
        status: Such as "successful", "failed" or "in-progress".
        request_sid: The SID of the request to the Add-on, `XR...`.
        message: Why it failed, if it did.
        code: Twilio's error code, 61xxx, if it failed.
        result: What the Add-on returned; free-form.
        payload: The payloads, if this is a recording Add-on.
        links: The URLs of related resources.
    """

    status: str | None = None
    request_sid: str | None = None
    message: str | None = None
    code: int | None = None
    result: Any = attrs.field(default=None, hash=False)
    payload: tuple[AddOnPayload, ...] | None = None
    links: dict[str, Any] | None = attrs.field(default=None, hash=False)

    @property
    def ok(self) -> bool:
        """Whether the Add-on succeeded."""
        return self.status in _DONE


@attrs.frozen
class AddOnResults:
    """The results of all Add-ons that ran for a call, a message or a recording.

    Attributes:
        status: The status of the whole. It is "successful" even if an Add-on failed: use `ok`.
        message: Why the whole failed, if it did.
        code: Twilio's error code, if the whole failed.
        results: The result of each Add-on, by its unique name.
    """

    status: str | None = None
    message: str | None = None
    code: int | None = None
    results: dict[str, AddOnResult] | None = attrs.field(default=None, hash=False)

    @property
    def ok(self) -> bool:
        """Whether the whole and each Add-on succeeded."""
        return self.status in _DONE and all(result.ok for result in (self.results or {}).values())

    def __getitem__(self, unique_name: str) -> AddOnResult:
        return (self.results or {})[unique_name]


def parse_add_ons(text: str | bytes) -> AddOnResults:
    """Read the `AddOns` parameter of a webhook.

    Args:
        text: The value of the form field, JSON text.

    Raises:
        WebhookError: The text is not what Twilio sends.

    See https://www.twilio.com/docs/marketplace/add-ons
    """
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    try:
        return from_json(raw, AddOnResults, "the AddOns parameter of a webhook")
    except ValueError as error:
        reason = f"the text is {error}"
    raise WebhookError(reason)

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
from typing import Any, TypeAlias, TypeVar
from urllib.parse import SplitResult, parse_qs, parse_qsl, urlsplit

import attrs

from ._core import lenient
from ._core.codec import from_json
from ._core.frames import hide_arguments
from ._core.records import Record, marked
from ._core.serializable import Serializable
from .credentials import Secret
from .errors import WebhookError

__all__ = ["AddOnPayload", "AddOnResult", "AddOnResults", "Fields", "parse_add_ons", "verify"]

R = TypeVar("R", bound=Record)

Fields: TypeAlias = Mapping[str, str | Iterable[str]] | Iterable[tuple[str, str | Iterable[str]]]
"""Form fields: a mapping of names to a value or several, or pairs of them."""

_DONE = ("successful", "completed")
_PORTS = {"https": 443, "http": 80}
_HASHES = {"HMAC_SHA256": "sha256", "HMAC_SHA1": "sha1"}
# A URL or its path, from the path on.
_AFTER_HOST = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*)?((?:[/?#].*)?)", re.DOTALL)


@hide_arguments
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
        url: The URL that was requested, with its query. With `public_url`, its path and query are
            enough.
        body: The body as it arrived. The fields of a form may be given instead: as a mapping of
            lists, as pairs, or as the form of your framework. A JSON body must be given as it
            arrived.
        signature: The `X-Twilio-Signature` header; None if the request has none.
        auth_token: The auth token of the account. Pass several during a rotation, or for
            many subaccounts. Each takes about 10 microseconds: of thousands, pick the one of the
            `AccountSid` in the form.
        settings: The `X-Twilio-Webhooks-Signature-Settings` header, if the request has one. It
            names the shared key that signed the request, with HMAC-SHA256, in place of the auth
            token.
        shared_keys: The secrets of your shared keys, by the key that the header names.
        public_url: The scheme and host that Twilio sees, such as "https://example.com", if a proxy
            stands in front of your service. It replaces those of `url`, and its path is put before
            the path of `url`.

    Raises:
        WebhookError: The signature is missing or wrong, or the body does not match it. An argument
            of a wrong type raises it, too. Nothing else is raised.

    See https://www.twilio.com/docs/usage/webhooks/webhooks-security
    """
    keys = _secrets(auth_token, "auth_token")
    if not _text(signature or "", "signature"):
        raise WebhookError("the request has no X-Twilio-Signature header")
    digest = "sha1"
    if settings:
        key, digest = _shared_key(_text(settings, "settings"), shared_keys or {})
        keys = (key,)
    if not keys:
        raise WebhookError("the request is signed with an auth token, and none was given")
    url = _text(url, "url")
    if public_url is not None:
        url = _with_public_base(url, _text(public_url, "public_url"))
    signed = _body_text(url, body)
    given = _bytes(_text(signature, "signature").strip())
    for candidate in _with_and_without_port(url):
        message = _bytes(candidate + signed)
        for each in keys:
            expected = b64encode(hmac.digest(each.reveal().encode(), message, digest))
            if hmac.compare_digest(expected, given):
                return
    raise WebhookError("the signature does not match the request")


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise WebhookError(f"{name}: expected text, got {type(value).__name__}")
    return value


def _bytes(text: str) -> bytes:
    try:
        # A byte of the body that is not UTF-8 was decoded as a surrogate.
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise WebhookError("the request holds text that is not Unicode") from None


def _secrets(values: object, name: str) -> tuple[Secret, ...]:
    if isinstance(values, str | Secret):
        values = (values,)
    if isinstance(values, bytes | Mapping) or not isinstance(values, Iterable):
        raise WebhookError(f"{name}: expected text, a Secret or several, got {_kind(values)}")
    return tuple(_secret(value, name) for value in values)


def _secret(value: object, name: str) -> Secret:
    if isinstance(value, Secret):
        return value
    try:
        return Secret(_text(value, name))
    except ValueError as error:
        raise WebhookError(f"{name}: {error}") from None


def _kind(value: object) -> str:
    return type(value).__name__


def _shared_key(settings: str, shared_keys: object) -> tuple[Secret, str]:
    """Return the shared key and the hash that a header names."""
    if not isinstance(shared_keys, Mapping):
        raise WebhookError(f"shared_keys: expected a mapping, got {_kind(shared_keys)}")
    parts = (part.strip().partition("=") for part in settings.split(","))
    fields = {name: value for name, _, value in parts}
    algorithm = fields.get("algorithm")
    if algorithm not in _HASHES:
        raise WebhookError(f"the request is signed with an unknown algorithm, {algorithm!r}")
    name = fields.get("key", "")
    if name not in shared_keys:
        raise WebhookError(f"the request is signed with the shared key {name!r}, which is unknown")
    return _secret(shared_keys[name], "shared_keys"), _HASHES[algorithm]


def _body_text(url: str, body: object) -> str:
    """Return the text that a signature covers in addition to the URL."""
    digests = parse_qs(_split(url, "url").query, keep_blank_values=True).get("bodySHA256", [])
    if digests:
        if not isinstance(body, bytes | str):
            raise WebhookError("this request has a JSON body: pass it as it arrived")
        raw = _bytes(body) if isinstance(body, str) else body
        actual = hashlib.sha256(raw).hexdigest().encode()
        if len(digests) > 1 or not hmac.compare_digest(actual, _bytes(digests[0].lower())):
            raise WebhookError("the body does not match the bodySHA256 of the URL")
        return ""
    values: dict[str, set[str]] = {}
    for name, value in _fields(body):
        values.setdefault(name, set()).add(value)
    return "".join(name + value for name in sorted(values) for value in sorted(values[name]))


def _fields(body: object) -> Iterator[tuple[str, str]]:
    if isinstance(body, bytes):
        body = body.decode("utf-8", "surrogateescape")
    if isinstance(body, str):
        yield from parse_qsl(body, keep_blank_values=True, errors="surrogateescape")
        return
    for pair in _pairs(body):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise _not_a_form(pair)
        name, values = pair
        several = (values,) if isinstance(values, str) else values
        if isinstance(several, Mapping | bytes) or not isinstance(several, Iterable):
            raise _not_a_form(several)
        for value in several:
            if not isinstance(name, str) or not isinstance(value, str):
                raise _not_a_form(name if isinstance(value, str) else value)
            yield name, value


def _pairs(body: object) -> Iterable[object]:
    # The form classes of Starlette, Django and Werkzeug show one value of each name in `items()`.
    for method in ("multi_items", "lists"):
        if hasattr(body, method):
            pairs: Iterable[object] = getattr(body, method)()
            return pairs
    if isinstance(body, Mapping):
        return body.items()
    if isinstance(body, Iterable):
        return body
    raise _not_a_form(body)


def _not_a_form(part: object) -> WebhookError:
    return WebhookError(
        f"body: expected the body as it arrived, or the fields of a form, got {_kind(part)}"
    )


def _split(url: str, name: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in _PORTS or not parts.hostname:
        raise WebhookError(f"{name}: expected the URL that Twilio requested, got {url!r}")
    return parts


def _with_public_base(url: str, public_url: str) -> str:
    public = _split(public_url, "public_url")
    if public.query or public.fragment:
        raise WebhookError(f"public_url: expected no query and no fragment, got {public_url!r}")
    path = _AFTER_HOST.fullmatch(url)
    if path is None:
        raise WebhookError(f"url: expected a URL or its path, got {url!r}")
    # The text is kept as it is: Twilio signed it, and a parser would normalize it.
    return public_url.rstrip("/?#") + path[1]


def _with_and_without_port(url: str) -> Iterator[str]:
    # Twilio signs some URLs with their port and some without.
    yield url
    parts = _split(url, "url")
    if parts.port is None:
        netloc = f"{parts.netloc}:{_PORTS[parts.scheme]}"
    else:
        netloc = re.sub(r":\d*\Z", "", parts.netloc)
    start = url.index("://") + 3
    yield url[:start] + netloc + url[start + len(parts.netloc) :]


@attrs.frozen
class AddOnPayload(Record, Serializable):
    """One payload of the result of a recording Add-on.

    Attributes:
        content_type: Its media type.
        url: Where to fetch it.
    """

    content_type: str | None = None
    url: str | None = None


@attrs.frozen
class AddOnResult(Record, Serializable):
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
class AddOnResults(Record, Serializable):
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
        if "results" in self.unreadable:
            return False
        return self.status in _DONE and all(result.ok for result in (self.results or {}).values())

    def __getitem__(self, unique_name: str) -> AddOnResult:
        return (self.results or {})[unique_name]


def parse_add_ons(text: str | bytes) -> AddOnResults:
    """Read the `AddOns` parameter of a webhook.

    A field of another type than Twilio documents is None, and in `unreadable` of its record.

    Args:
        text: The value of the form field, JSON text.

    Raises:
        WebhookError: The text is not what Twilio sends. Nothing else is raised.

    See https://www.twilio.com/docs/marketplace/add-ons
    """
    if not isinstance(text, str | bytes):
        raise WebhookError(f"AddOns: expected the text of the form field, got {_kind(text)}")
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    try:
        results = from_json(raw, AddOnResults, "the AddOns parameter of a webhook")
        if results != AddOnResults():  # else it may have neither field
            return results
    except ValueError:
        pass
    try:
        return _read_leniently(raw)
    except ValueError as error:
        reason = f"AddOns: the text is {error}"
    except RecursionError:
        reason = "AddOns: the text is nested too deeply"
    raise WebhookError(reason)


def _read_leniently(raw: bytes) -> AddOnResults:
    document = lenient.parse(raw)
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")
    if document.keys().isdisjoint({"status", "results"}):
        raise ValueError("an object without status and results")
    found = document.pop("results", None)
    whole: AddOnResults
    whole, _ = lenient.build(AddOnResults, document)
    if found is None:
        return whole
    if not isinstance(found, dict):
        return _with_unreadable(whole, "results", found)
    results = {name: _result(value) for name, value in found.items()}
    return marked(attrs.evolve(whole, results=results), whole.unreadable)


def _result(value: Any) -> AddOnResult:
    if not isinstance(value, dict):
        return _with_unreadable(AddOnResult(), "result", value)
    result: AddOnResult
    try:
        result, _ = lenient.build(AddOnResult, value)
    except lenient.ShapeError:
        payload = value.pop("payload")
        result, _ = lenient.build(AddOnResult, value)
        return _with_unreadable(result, "payload", payload)
    return result


def _with_unreadable(record: R, name: str, value: Any) -> R:
    return marked(record, {**record.unreadable, name: lenient.plain_or_none(value)})

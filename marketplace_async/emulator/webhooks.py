"""Signed webhooks: the emulator calls your service as Twilio does, to test it."""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypedDict, Unpack
from urllib.parse import urlencode, urlsplit

import aiohttp
import attrs
import msgspec
from aiohttp import web
from yarl import URL

from .core_api import CoreApi
from .store import Store, new_sid

# Seconds that Twilio waits for a response.
_TIMEOUT: Final = 15.0
_METHODS: Final = ("GET", "POST")
_ACCOUNT: Final = re.compile(r"AC[0-9a-fA-F]{32}")
_AFTER_HOST: Final = re.compile(r"[a-z]+://[^/]*(/.*)", re.IGNORECASE | re.DOTALL)


class SigningOptions(TypedDict, total=False):
    """How a webhook is signed.

    Attributes:
        auth_token: The key. Defaults to the auth token of the account, which `client.accounts`
            lists.
        shared_key: A key, as the header names it, and its secret: the webhook is signed with this
            secret and HMAC-SHA256.
        public_url: The scheme and host that Twilio sees, if a proxy stands in front of your
            service. The webhook goes to your service, and is signed for this URL.
    """

    auth_token: str | None
    shared_key: Sequence[str] | None
    public_url: str | None


class WebhookOptions(SigningOptions, total=False):
    """The content of a webhook, and how it is signed.

    Attributes:
        add_ons: The results of Add-ons by unique name, for the field `AddOns`. Each is an object
            with any of `status`, `message`, `code`, `result`, `payload` and `links`. The status
            defaults to "successful".
        fields: Other form fields, each with a value or several.
        json: A JSON document to send instead of a form.
        method: "POST", the default, or "GET".
    """

    add_ons: Mapping[str, Mapping[str, Any]] | None
    fields: Mapping[str, str | Sequence[str]] | None
    json: Any
    method: str


class DeliveryOptions(SigningOptions, total=False):
    """The result of a recording Add-on, and how its webhook is signed.

    Attributes:
        result: What the Add-on found: any JSON value. It is the payload of the result.
        status: "completed", the default, "failed", or another status.
        message: Why it failed.
        code: Twilio's error code, 61xxx, if it failed.
        recording_sid: The recording, `RE...`. By default, a new one.
    """

    result: Any
    status: str
    message: str | None
    code: int | None
    recording_sid: str


@attrs.frozen
class WebhookResponse:
    """What your service responded to a webhook.

    Attributes:
        status: The HTTP status.
        headers: The headers, with lower-case names.
        body: The body.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


@attrs.frozen
class Webhook:
    """A signed webhook that is ready to be sent. It needs nothing of the emulator."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None

    async def send(self) -> WebhookResponse:
        """Send it once. Raises ConnectionError."""
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT)
        cookies = aiohttp.DummyCookieJar()
        reason: str
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, cookie_jar=cookies) as session,
                session.request(
                    self.method,
                    # The text that was signed, unchanged.
                    URL(self.url, encoded=True),
                    headers=self.headers,
                    data=self.body,
                    allow_redirects=False,
                ) as response,
            ):
                content = await response.read()
                headers = {name.lower(): value for name, value in response.headers.items()}
                return WebhookResponse(response.status, headers, content)
        except TimeoutError:
            reason = f"no response within {_TIMEOUT:g} s"
        except (aiohttp.ClientError, OSError) as error:
            reason = str(error)
        raise ConnectionError(f"{self.url}: {reason}")


class Webhooks:
    """Builds the webhooks of an emulator.

    Args:
        store: The state, with installations and the auth tokens of accounts.
        secrets: The auth tokens of accounts that were not created in the store, by SID.
        base_url: The URL of the emulator.
    """

    def __init__(self, store: Store, secrets: Mapping[str, str] | None, base_url: str) -> None:
        self._store = store
        self._secrets = secrets or {}
        self._base_url = base_url

    def webhook(self, url: str, account_sid: str, **options: Unpack[WebhookOptions]) -> Webhook:
        """Return a webhook to `url`. Raises ValueError or TypeError."""
        _check_names(options, WebhookOptions)
        if not isinstance(account_sid, str) or not _ACCOUNT.fullmatch(account_sid):
            raise ValueError(f"account_sid: must be AC and 32 hex digits, got {account_sid!r}")
        method = options.get("method", "POST")
        if method not in _METHODS:
            raise ValueError(f"method: must be one of {_METHODS}, got {method!r}")
        pairs = [("AccountSid", account_sid), *_pairs(options.get("fields") or {})]
        add_ons = options.get("add_ons")
        if add_ons is not None:
            if method == "GET":
                raise ValueError("add_ons: Twilio sends results with POST only")
            pairs.append(("AddOns", _add_ons_text(add_ons)))
        url = _with_path(_check_url(url, "url"))
        headers = {"User-Agent": "TwilioProxy/1.1", "Accept": "*/*"}
        body: bytes | None = None
        if "json" in options:
            if method == "GET" or add_ons is not None or options.get("fields"):
                raise ValueError("json: cannot be combined with a form or with GET")
            body, pairs = json.dumps(options["json"]).encode(), []
            url = _with_query(url, [("bodySHA256", hashlib.sha256(body).hexdigest())])
            headers["Content-Type"] = "application/json"
        elif method == "GET":
            url, pairs = _with_query(url, pairs), []
        else:
            body = urlencode(pairs).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded; charset=UTF-8"
        key, digest = self._auth_token(account_sid, options.get("auth_token")), "sha1"
        shared_key = options.get("shared_key")
        if shared_key is not None:
            name, key = _check_shared_key(shared_key)
            digest = "sha256"
            settings = f"key={name},algorithm=HMAC_SHA256"
            headers["X-Twilio-Webhooks-Signature-Settings"] = settings
        signed_url = _as_seen(url, options.get("public_url"))
        headers["X-Twilio-Signature"] = signature(signed_url, pairs, key, digest)
        return Webhook(method, url, headers, body)

    def result(self, installed_add_on_sid: str, **options: Unpack[DeliveryOptions]) -> Webhook:
        """Store the result of a recording Add-on, and return the webhook for its `callback_url`."""
        _check_names(options, DeliveryOptions)
        installation = self._store.installation(installed_add_on_sid)
        if installation is None:
            raise ValueError(f"installed_add_on_sid: {installed_add_on_sid} is not installed")
        configuration = msgspec.json.decode(installation.configuration)
        url = configuration.get("callback_url")
        if not isinstance(url, str):
            raise ValueError(
                f"installed_add_on_sid: the configuration of {installed_add_on_sid} has no "
                "callback_url"
            )
        status = options.get("status", "completed")
        recording_sid = options.get("recording_sid") or new_sid("RE")
        content: WebhookOptions = {
            "method": configuration.get("callback_method", "POST"),
            "auth_token": options.get("auth_token"),
            "shared_key": options.get("shared_key"),
            "public_url": options.get("public_url"),
        }
        # Checked before the result is stored.
        self.webhook(url, installation.account_sid, **content)
        core = CoreApi(self._store)
        paths = core.add_result(installation, recording_sid, status, options.get("result"))
        if content["method"] == "POST":
            result: dict[str, Any] = {
                "request_sid": paths.sid,
                "status": status,
                "message": options.get("message"),
                "code": options.get("code"),
                "payload": [
                    {"content_type": "application/json", "url": f"{self._base_url}{payload}"}
                    for payload in paths.payloads
                ],
                "links": {name: f"{self._base_url}{path}" for name, path in paths.links.items()},
            }
            content["add_ons"] = {installation.unique_name: result}
        return self.webhook(url, installation.account_sid, **content)

    def _auth_token(self, account_sid: str, given: str | None) -> str:
        if given is not None:
            if not isinstance(given, str) or not given:
                raise ValueError("auth_token: must be text that is not empty")
            return given
        token = self._secrets.get(account_sid)
        return self._store.ensure_account(account_sid).auth_token if token is None else token


def signature(url: str, pairs: Iterable[tuple[str, str]], key: str, digest: str) -> str:
    """Sign a URL and form fields: each name once, followed by its values, all sorted."""
    text = url
    by_name: dict[str, list[str]] = {}
    for name, value in sorted(set(pairs)):
        by_name.setdefault(name, []).append(value)
    for name, values in by_name.items():
        text += "".join(f"{name}{value}" for value in values)
    return base64.b64encode(hmac.digest(key.encode(), text.encode(), digest)).decode()


def _add_ons_text(results: Mapping[str, Mapping[str, Any]]) -> str:
    if not isinstance(results, Mapping):
        raise TypeError(f"add_ons: must be an object of results by unique name, got {results!r}")
    documents = {}
    for name, result in results.items():
        if not isinstance(result, Mapping):
            raise TypeError(f"add_ons: {name}: must be an object, got {result!r}")
        documents[name] = {
            "request_sid": new_sid("XR"),
            "status": "successful",
            "message": None,
            "code": None,
            **result,
        }
    # The status of the whole is "successful" whatever became of each.
    whole = {"status": "successful", "message": None, "code": None, "results": documents}
    return json.dumps(whole)


def _pairs(fields: Mapping[str, str | Sequence[str]]) -> Iterable[tuple[str, str]]:
    if not isinstance(fields, Mapping):
        raise TypeError(f"fields: must be an object, got {fields!r}")
    for name, values in fields.items():
        several = [values] if isinstance(values, str) else values
        if not isinstance(several, Sequence) or not all(isinstance(each, str) for each in several):
            raise TypeError(f"fields: {name}: must be text or a list of text, got {values!r}")
        for value in several:
            yield name, value


def _with_path(url: str) -> str:
    """Return a URL as it is requested: with a path, and without a fragment."""
    url = url.partition("#")[0]
    start = url.index("://") + 3
    end = start + len(urlsplit(url).netloc)
    return url if url[end : end + 1] == "/" else f"{url[:end]}/{url[end:]}"


def _with_query(url: str, pairs: Sequence[tuple[str, str]]) -> str:
    if not pairs:
        return url
    return f"{url}{'&' if '?' in url else '?'}{urlencode(pairs)}"


def _check_url(url: str, name: str) -> str:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        valid = valid and url.isascii() and url.isprintable() and " " not in url
    except (ValueError, TypeError, AttributeError):
        valid = False
    if not valid:
        raise ValueError(f"{name}: must be an http or https URL, got {url!r}")
    return url


def _as_seen(url: str, public_url: str | None) -> str:
    """Return the URL that Twilio would request to reach `url`."""
    if public_url is None:
        return url
    public_url = _check_url(public_url, "public_url")
    if set(public_url) & set("?#"):
        raise ValueError(f"public_url: must have no query and no fragment, got {public_url!r}")
    path = _AFTER_HOST.fullmatch(url)
    assert path is not None
    return public_url.rstrip("/") + path[1]


def _check_shared_key(shared_key: Sequence[str]) -> tuple[str, str]:
    match shared_key:
        case [str() as name, str() as secret] if name and secret and not set(name) & set(",= \r\n"):
            return name, secret
        case _:
            raise ValueError("shared_key: must be a key and its secret, both text")


def _check_names(options: Mapping[str, Any], known: Any) -> None:
    unknown = options.keys() - known.__annotations__.keys()
    if unknown:
        raise TypeError(f"a webhook has no argument {min(unknown)!r}")


def _json(document: dict[str, Any], status: int = 200) -> web.Response:
    return web.json_response(document, status=status)

"""Webhooks: signatures are verified, and the results of Add-ons are read."""

import base64
import hashlib
import hmac
import json
import os
import traceback
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings, strategies as st
from twilio.request_validator import (  # type: ignore[import-untyped]  # it has no types
    RequestValidator,
)

from marketplace_async import WebhookError, webhooks
from marketplace_async.webhooks import parse_add_ons, verify

CASES = int(os.environ.get("MARKETPLACE_WEBHOOK_CASES", "300"))
TOKEN, OTHER = "geheim-4711", "geheim-0815"
URL = "https://example.com/hooks?a=1"

names = st.text(min_size=1, max_size=8)
values = st.text(max_size=8)
forms = st.dictionaries(names, st.lists(values, min_size=1, max_size=3), max_size=5)
urls = st.sampled_from(
    [
        *("https://example.com/hooks", "https://example.com:8443/a?b=c&d=", "http://h.example/"),
        *("https://example.com:443/x", "https://[::1]:8080/x", "https://user@example.com/x"),
    ]
)


def sign(text: str, key: str = TOKEN, digest: str = "sha1") -> str:
    return base64.b64encode(hmac.digest(key.encode(), text.encode(), digest)).decode()


def signed_json(body: bytes, url: str = URL) -> tuple[str, str]:
    url = f"{url}&bodySHA256={hashlib.sha256(body).hexdigest()}"
    return url, sign(url)


# -- forms


@settings(max_examples=CASES, deadline=None)
@given(url=urls, form=forms)
def test_it_agrees_with_the_official_helper_on_forms(url: str, form: dict[str, list[str]]) -> None:
    signature = RequestValidator(TOKEN).compute_signature(url, MultiDict(form))
    pairs = [(name, value) for name, several in form.items() for value in several]
    body = urlencode(pairs)
    for given_body in (body, body.encode(), form, pairs):
        verify(url=url, body=given_body, signature=signature, auth_token=TOKEN)
    with pytest.raises(WebhookError):
        verify(url=url, body=body, signature=signature, auth_token=OTHER)
    with pytest.raises(WebhookError):
        verify(url=url, body=[*pairs, ("added", "")], signature=signature, auth_token=TOKEN)


class MultiDict(dict[str, list[str]]):
    """What the official helper takes for a form whose names repeat."""

    def getall(self, name: str) -> list[str]:
        return self[name]


@pytest.mark.parametrize(
    ("signed", "requested"),
    [
        ("https://example.com/x", "https://example.com:443/x"),
        ("https://example.com:443/x", "https://example.com/x"),
        ("http://example.com:80/x", "http://example.com/x"),
        ("https://example.com/x", "https://example.com:8443/x"),
    ],
)
def test_the_port_may_be_in_the_url_or_not(signed: str, requested: str) -> None:
    verify(url=requested, body="a=b", signature=sign(signed + "ab"), auth_token=TOKEN)


def test_whitespace_and_empty_fields_count() -> None:
    signature = sign(URL + "a b ")
    verify(url=URL, body="a=+b+", signature=signature, auth_token=TOKEN)
    with pytest.raises(WebhookError):
        verify(url=URL, body="a=+b", signature=signature, auth_token=TOKEN)
    verify(url=URL, body="a=&b=x", signature=sign(URL + "abx"), auth_token=TOKEN)


def test_any_of_several_tokens_may_have_signed() -> None:
    verify(url=URL, signature=sign(URL), auth_token=[OTHER, TOKEN])
    with pytest.raises(WebhookError, match="the signature does not match"):
        verify(url=URL, signature=sign(URL), auth_token=[OTHER])
    with pytest.raises(WebhookError, match="none was given"):
        verify(url=URL, signature=sign(URL), auth_token=[])


def test_behind_a_proxy_the_public_url_counts() -> None:
    public = "https://example.com/api/hooks?a=1"
    for inner in ("http://10.0.0.1:8000/hooks?a=1", "/hooks?a=1"):
        verify(
            url=inner,
            signature=sign(public),
            auth_token=TOKEN,
            public_url="https://example.com/api/",
        )


# -- JSON


def test_a_json_body_is_covered_by_its_digest_in_the_url() -> None:
    body = b'{"a": "\xc3\xa4"}'
    url, signature = signed_json(body)
    verify(url=url, body=body, signature=signature, auth_token=TOKEN)
    verify(url=url, body=body.decode(), signature=signature, auth_token=TOKEN)
    for forged in (b"{}", b"", body + b" ", {"a": "forged"}, [("a", "forged")]):
        with pytest.raises(WebhookError):
            verify(url=url, body=forged, signature=signature, auth_token=TOKEN)


def test_a_digest_given_twice_is_not_trusted() -> None:
    url, _ = signed_json(b"{}")
    url += "&bodySHA256=" + hashlib.sha256(b"[]").hexdigest()
    with pytest.raises(WebhookError, match="bodySHA256"):
        verify(url=url, body=b"{}", signature=sign(url), auth_token=TOKEN)


def test_json_without_a_digest_is_not_accepted() -> None:
    with pytest.raises(WebhookError):
        verify(url=URL, body=b'{"a": 1}', signature=sign(URL), auth_token=TOKEN)


# -- shared keys


def test_a_shared_key_signs_with_sha256() -> None:
    key, header = "SK" + "0" * 32, "key=SK" + "0" * 32 + ",algorithm=HMAC_SHA256"
    signature = sign(URL + "ab", "shared", "sha256")
    verify(url=URL, body="a=b", signature=signature, settings=header, shared_keys={key: "shared"})
    for settings_header, keys, message in [
        (header, {}, "is unknown"),
        (header, {key: "another"}, "does not match"),
        ("key=x,algorithm=none", {"x": "shared"}, "unknown algorithm"),
        ("", {key: "shared"}, "unknown algorithm"),
        (None, {key: "shared"}, "none was given"),
    ]:
        with pytest.raises(WebhookError, match=message):
            verify(
                url=URL,
                body="a=b",
                signature=signature,
                settings=settings_header,
                shared_keys=keys,
            )


# -- hostile input


@pytest.mark.parametrize("signature", [None, "", "x", "\u2603", "=" * 1000, ["a"]])
def test_a_signature_that_is_missing_or_wrong_is_one_error(signature: Any) -> None:
    with pytest.raises(WebhookError):
        verify(url=URL, body="a=b", signature=signature, auth_token=TOKEN)


@settings(deadline=None)
@given(url=st.text(), body=st.binary() | st.text(), signature=st.text())
def test_nothing_but_a_webhook_error_is_raised(url: str, body: Any, signature: str) -> None:
    with pytest.raises(WebhookError):
        verify(url=url, body=body, signature=signature, auth_token=TOKEN)


def test_no_frame_shows_the_token() -> None:
    with pytest.raises(WebhookError) as error:
        verify(url=URL, signature="x", auth_token=[TOKEN], shared_keys={"k": OTHER})
    inside = traceback.TracebackException.from_exception(error.value, capture_locals=True)
    frames = [frame for frame in inside.stack if frame.filename == webhooks.__file__]
    assert frames
    for frame in frames:
        assert "geheim" not in str(frame.locals)


# -- results of Add-ons


RESULTS = {
    "status": "successful",
    "message": None,
    "code": None,
    "results": {
        "spam": {
            "request_sid": "XR" + "1" * 32,
            "status": "successful",
            "message": None,
            "code": None,
            "result": {"score": 0},
        },
        "speech": {"status": "failed", "code": 61003, "message": "Add-on failed"},
        "recording": {
            "status": "completed",
            "payload": [{"content_type": "application/json", "url": "https://x"}],
            "links": {"add_on_result": "https://y"},
        },
    },
}


def test_each_result_tells_whether_it_succeeded() -> None:
    for text in (json.dumps(RESULTS), json.dumps(RESULTS).encode()):
        results = parse_add_ons(text)
        assert results.status == "successful"
        assert not results.ok  # though the whole is "successful"
        assert results["spam"].ok
        assert results["spam"].result == {"score": 0}
        assert (results["speech"].ok, results["speech"].code) == (False, 61003)
        (payload,) = results["recording"].payload or ()
        assert payload.url == "https://x"
    assert parse_add_ons('{"status": "successful", "results": {}}').ok
    assert not parse_add_ons('{"status": "failed", "code": 61001, "results": null}').ok


@given(st.text() | st.binary())
def test_what_is_not_add_ons_is_a_webhook_error(text: Any) -> None:
    with pytest.raises(WebhookError):
        parse_add_ons(text)

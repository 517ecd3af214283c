"""Webhooks: signatures are verified, and the results of Add-ons are read."""

import base64
import hashlib
import hmac
import json
import os
from random import Random
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import example, given, settings, strategies as st
from multidict import MultiDict
from support.reporters import reports
from twilio.request_validator import (  # type: ignore[import-untyped]  # it has no types
    RequestValidator,
)

from marketplace_async import Secret, WebhookError
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
    signature = RequestValidator(TOKEN).compute_signature(url, ListsByName(form))
    pairs = [(name, value) for name, several in form.items() for value in several]
    body = urlencode(pairs)
    for given_body in (body, body.encode(), form, pairs):
        verify(url=url, body=given_body, signature=signature, auth_token=TOKEN)
    with pytest.raises(WebhookError):
        verify(url=url, body=body, signature=signature, auth_token=OTHER)
    with pytest.raises(WebhookError):
        verify(url=url, body=[*pairs, ("added", "")], signature=signature, auth_token=TOKEN)


class ListsByName(dict[str, list[str]]):
    """What the official helper takes for a form whose names repeat."""

    def getall(self, name: str) -> list[str]:
        return self[name]


def test_it_agrees_with_the_official_helper_on_10_000_random_forms() -> None:
    random = Random(4711)
    letters = "abcXYZ019 &=+%;#?/\\\"'<>[]{}.-_~\r\n\t\0äß名🎉\u2028\ufeff"

    def text(longest: int) -> str:
        return "".join(random.choices(letters, k=random.randint(0, longest)))

    for _ in range(10_000):
        port = random.choice(["", "", ":443", ":80", ":8443"])
        query = urlencode([(text(5), text(5)) for _ in range(random.randint(0, 3))])
        url = f"{random.choice(['http', 'https'])}://example.com{port}/{text(0)}hooks"
        url += f"?{query}" if query else ""
        form: dict[str, list[str]] = {}
        for _ in range(random.randint(0, 8)):
            form.setdefault(text(12), []).append(text(30))
        pairs = [(name, value) for name, several in form.items() for value in several]
        random.shuffle(pairs)
        algorithm = random.choice(["HMAC_SHA1", "HMAC_SHA256"])
        official = RequestValidator(TOKEN)
        signature = official.compute_signature(url, ListsByName(form), algorithm)
        assert official.validate(url, ListsByName(form), signature, algorithm)
        key: dict[str, Any] = {"auth_token": TOKEN}
        if algorithm == "HMAC_SHA256":
            key = {"settings": f"key=k,algorithm={algorithm}", "shared_keys": {"k": TOKEN}}
        body = urlencode(pairs).encode()
        verify(url=url, body=body, signature=signature, **key)
        # One bit of the body, the URL or the signature is changed.
        changed = [(name, value + "x") for name, value in pairs] or [("x", "")]
        assert not official.validate(url, dict(changed), signature, algorithm)
        for other in (
            {"url": url, "body": urlencode(changed), "signature": signature},
            {"url": url + "x", "body": body, "signature": signature},
            {"url": url, "body": body, "signature": signature.swapcase()},
        ):
            with pytest.raises(WebhookError):
                verify(**other, **key)


def test_the_forms_of_web_frameworks_are_read_with_all_their_values() -> None:
    pairs = [("b", "2"), ("a", "1"), ("b", "1"), ("b", "2")]
    signature = sign(URL + "a1b1b2")
    forms: list[Any] = [pairs, MultiDict(pairs), {"a": "1", "b": {"2", "1"}}]
    starlette = pytest.importorskip("starlette.datastructures")
    werkzeug = pytest.importorskip("werkzeug.datastructures")
    forms += [starlette.FormData(pairs), werkzeug.MultiDict(pairs)]
    for form in forms:
        verify(url=URL, body=form, signature=signature, auth_token=TOKEN)


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
    verify(url=URL, signature=sign(URL), auth_token=(Secret(each) for each in (TOKEN, OTHER)))
    with pytest.raises(WebhookError, match="the signature does not match"):
        verify(url=URL, signature=sign(URL), auth_token=[OTHER])
    with pytest.raises(WebhookError, match="none was given"):
        verify(url=URL, signature=sign(URL), auth_token=[])


@pytest.mark.parametrize(
    "path",
    ["/hooks?a=1", "/hooks?next=https://x.example/#y", "/a%2Fb/%C3%A4?x=%7E", "/?", "?a=1", ""],
)
@pytest.mark.parametrize("public_url", ["https://example.com/api/", "https://example.com/api"])
def test_behind_a_proxy_the_public_url_counts(path: str, public_url: str) -> None:
    signature = sign(f"https://example.com/api{path}")
    for inner in (f"http://10.0.0.1:8000{path}", f"HTTP://user@[::1]{path}", path):
        verify(url=inner, signature=signature, auth_token=TOKEN, public_url=public_url)


@pytest.mark.parametrize(
    ("url", "public_url", "message"),
    [
        ("hooks", "https://example.com", "url: expected a URL or its path"),
        ("/hooks", "example.com", "public_url: expected the URL"),
        ("/hooks", "https://example.com?a=b", "public_url: expected no query"),
        ("/hooks", "https://example.com:x", "public_url: expected the URL"),
        ("/hooks", None, "url: expected the URL"),
        ("ftp://example.com", None, "url: expected the URL"),
    ],
)
def test_a_url_that_twilio_cannot_have_requested_is_named(
    url: str, public_url: str | None, message: str
) -> None:
    with pytest.raises(WebhookError, match=message):
        verify(url=url, signature="x", auth_token=TOKEN, public_url=public_url)


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
        ("key=x", {"x": "shared"}, "unknown algorithm"),
        # Without the header, or with an empty one, an auth token is the key.
        ("", {key: "shared"}, "none was given"),
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


def test_an_auth_token_is_not_accepted_for_a_shared_key() -> None:
    with pytest.raises(WebhookError, match="unknown"):
        verify(
            url=URL,
            signature=sign(URL, TOKEN, "sha256"),
            auth_token=TOKEN,
            settings="key=k,algorithm=HMAC_SHA256",
        )


# -- hostile input


@pytest.mark.parametrize("signature", [None, "", "x", "\u2603", "=" * 1000, ["a"], b"x", 5])
def test_a_signature_that_is_missing_or_wrong_is_one_error(signature: Any) -> None:
    with pytest.raises(WebhookError):
        verify(url=URL, body="a=b", signature=signature, auth_token=TOKEN)


def test_a_blank_token_verifies_nothing() -> None:
    signature = sign(URL, "")
    for token in ("", " ", [""], [TOKEN, ""]):
        with pytest.raises(WebhookError, match=r"auth_token: .* must not be blank"):
            verify(url=URL, signature=signature, auth_token=token)
    signature = sign(URL, "", "sha256")
    with pytest.raises(WebhookError, match=r"shared_keys: .* must not be blank"):
        verify(
            url=URL,
            signature=signature,
            settings="key=k,algorithm=HMAC_SHA256",
            shared_keys={"k": ""},
        )


@pytest.mark.parametrize(
    "body",
    [
        {"a": {"b": "1"}},  # a JSON document that was parsed
        {"a": None},
        {"a": 1},
        {"a": b"b"},
        {"a": [["b"]]},
        {5: "b"},
        [("a",)],
        ["ab"],
        [5],
        5,
        None,
    ],
)
def test_a_body_that_is_no_form_is_refused(body: Any) -> None:
    for signed in ("ab", "a", "", "ab1"):
        with pytest.raises(WebhookError, match="body: expected the body as it arrived"):
            verify(url=URL, body=body, signature=sign(URL + signed), auth_token=TOKEN)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"auth_token": None}, "auth_token: expected text, a Secret or several, got NoneType"),
        ({"auth_token": b"x"}, "auth_token: expected text, a Secret or several, got bytes"),
        ({"auth_token": {"AC1": "x"}}, "auth_token: expected text, a Secret or several, got dict"),
        ({"auth_token": [5]}, "auth_token: expected text, got int"),
        ({"url": b"https://x"}, "url: expected text, got bytes"),
        ({"settings": 5}, "settings: expected text, got int"),
        ({"settings": "key=k,algorithm=HMAC_SHA256", "shared_keys": [1]}, "shared_keys: expected"),
        ({"public_url": 5}, "public_url: expected text, got int"),
        ({"url": "https://example.com/\ud800"}, "not Unicode"),
    ],
)
def test_an_argument_of_a_wrong_type_is_a_webhook_error(
    argument: dict[str, Any], message: str
) -> None:
    with pytest.raises(WebhookError, match=message):
        verify(**{"url": URL, "signature": "x", "auth_token": TOKEN, **argument})


texts = st.text(st.characters())  # with surrogates
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | st.binary(),
    lambda children: (
        st.lists(children)
        | st.dictionaries(texts | st.integers(), children)
        | st.tuples(texts, children)
    ),
    max_leaves=5,
)
some_urls = urls | texts | texts.map(URL.__add__) | texts.map("https://".__add__) | anything
some_settings = st.none() | texts | texts.map("algorithm=HMAC_SHA256,key=".__add__) | anything


@settings(max_examples=CASES, deadline=None)
@given(
    url=some_urls,
    body=anything | texts.map(lambda text: text.encode("utf-8", "surrogatepass")),
    signature=texts | anything,
    auth_token=st.just(TOKEN) | anything,
    header=some_settings,
    shared_keys=st.just({"": TOKEN}) | anything,
    public_url=st.none() | some_urls,
)
def test_nothing_but_a_webhook_error_is_raised(
    url: Any,
    body: Any,
    signature: Any,
    auth_token: Any,
    header: Any,
    shared_keys: Any,
    public_url: Any,
) -> None:
    with pytest.raises(WebhookError):
        verify(
            url=url,
            body=body,
            signature=signature,
            auth_token=auth_token,
            settings=header,
            shared_keys=shared_keys,
            public_url=public_url,
        )


@pytest.mark.parametrize(
    "argument",
    [
        {},
        {"auth_token": [TOKEN, 5]},
        {"auth_token": [TOKEN, "geheim\ud800"]},
        {"settings": "key=k,algorithm=x"},
        {"settings": "key=k,algorithm=HMAC_SHA256", "shared_keys": {"k": b"geheim"}},
        {"body": {"a": 5}},
        {"public_url": "x"},
    ],
)
def test_no_report_of_an_error_shows_a_token(argument: dict[str, Any]) -> None:
    keys = {"auth_token": [TOKEN], "shared_keys": {"k": OTHER}}
    raised: BaseException | None = None
    try:
        # One expression, so that this frame holds no secret by a name of its own.
        verify(**{"url": URL, "signature": "x", **keys, **argument})
    except WebhookError as error:
        raised = error.with_traceback(error.__traceback__ and error.__traceback__.tb_next)
    assert raised is not None
    for reporter, text in reports(raised).items():
        assert "geheim" not in text, reporter


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
@example("{}")
@example(b'{"a": 1}')
def test_what_is_not_add_ons_is_a_webhook_error(text: Any) -> None:
    with pytest.raises(WebhookError):
        parse_add_ons(text)


@pytest.mark.parametrize("value", [None, 5, {"status": "successful"}, ["x"]])
def test_only_text_can_be_add_ons(value: Any) -> None:
    with pytest.raises(WebhookError, match="AddOns: expected the text of the form field, got"):
        parse_add_ons(value)


def test_add_ons_that_are_nested_too_deeply_are_a_webhook_error() -> None:
    for depth in (900, 3000, 300_000):
        text = '{"results": {"a": {"result": %s}}}' % ("[" * depth + "]" * depth)
        try:
            parse_add_ons(text)
        except WebhookError as error:
            assert "nested too deeply" in str(error)  # noqa: PT017 - shallow ones are read


@pytest.mark.parametrize(
    ("odd", "unreadable"),
    [
        ({"code": "61003"}, {"code": "61003"}),
        ({"status": 5}, {"status": 5}),
        ({"message": {"a": 1}}, {"message": {"a": 1}}),
        ({"payload": ["x"]}, {"payload": ["x"]}),
        ({"payload": {"x": 1}}, {"payload": {"x": 1}}),
        ({"links": []}, {"links": []}),
        ({"message": "cut \ud83d"}, {"message": "cut \ud83d"}),
    ],
)
def test_an_odd_field_of_a_result_costs_only_itself(
    odd: dict[str, Any], unreadable: dict[str, Any]
) -> None:
    good = {"status": "successful", "request_sid": "XR1", "result": {"score": 1}}
    text = json.dumps({"status": "successful", "results": {"odd": {**good, **odd}, "good": good}})
    results = parse_add_ons(text)
    assert results["odd"].unreadable == unreadable
    assert results["odd"].request_sid == "XR1"
    assert results["odd"].result == results["good"].result == {"score": 1}
    assert results["good"].ok
    assert results.ok == ("status" not in odd)


@pytest.mark.parametrize("odd", [[], "x", 5, True])
def test_results_that_are_no_object_are_unknown_and_not_ok(odd: Any) -> None:
    whole = parse_add_ons(json.dumps({"status": "successful", "results": odd}))
    assert (whole.ok, whole.results, whole.unreadable) == (False, None, {"results": odd})
    one = parse_add_ons(json.dumps({"status": "successful", "results": {"a": odd}}))
    assert (one.ok, one["a"].ok, one["a"].unreadable) == (False, False, {"result": odd})


@given(anything.map(lambda value: json.dumps(value, default=repr)) | anything)
def test_whatever_json_says_is_read_or_a_webhook_error(value: Any) -> None:
    for text in (value, f'{{"status": "successful", "results": {{"a": {value}}}}}'):
        try:
            results = parse_add_ons(text)
        except WebhookError:
            continue
        assert results.ok in (True, False)

"""Masking: whatever form a secret is quoted in, it is not shown."""

import html
import json
import pickle
from base64 import b64encode
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, strategies as st

from marketplace_async import AccountToken, Response, Secret
from marketplace_async._core.masking import MASK, redacted, redacted_json, secrets_in
from marketplace_async._core.messages import MAX_ERROR_BODY

AC = "AC" + "1" * 32
SECRETS = st.text(st.characters(exclude_categories=["Cs"]), min_size=6, max_size=40).filter(
    lambda text: text.strip() == text and MASK not in text and len(set(text)) > 3
)
FORMS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "JSON": lambda secret: json.dumps(secret)[1:-1],
    "JSON, not escaped": lambda secret: json.dumps(secret, ensure_ascii=False)[1:-1],
    "JSON of PHP": lambda secret: json.dumps(secret)[1:-1].replace("/", "\\/"),
    "URL": quote,
    "URL, every character": lambda secret: quote(secret, safe=""),
    "form": quote_plus,
    "HTML": html.escape,
    "Python": lambda secret: repr(secret)[1:-1],
    "header": lambda secret: "Basic " + b64encode(f"{AC}:{secret}".encode()).decode(),
    "header without padding": lambda secret: (
        b64encode(f"{AC}:{secret}".encode()).decode().rstrip("=")
    ),
}


@pytest.mark.parametrize("form", FORMS)
@given(secret=SECRETS)
def test_a_secret_is_masked_in_every_form(form: str, secret: str) -> None:
    authorization = AccountToken(AC, secret).authorization
    quoted = FORMS[form](secret)
    body = f"before {quoted} after".encode()
    response = Response(400, {"X-Echo": quoted}, body, authorization=authorization)
    bare = response.without_secrets()
    assert quoted.encode() not in bare.body
    assert quoted not in bare.headers["x-echo"]
    assert quoted not in response.mask(f"before {quoted} after")
    assert bare.body.endswith(b" after")
    copy = pickle.loads(pickle.dumps(response))
    assert (copy.body, copy.headers) == (bare.body, bare.headers)


@given(SECRETS)
def test_a_secret_is_masked_at_any_depth_and_in_keys(secret: str) -> None:
    found = redacted_json({secret: [1, None, {"a": f"<{secret}>"}]}, [secret])
    assert found == {MASK: [1, None, {"a": f"<{MASK}>"}]}


@given(SECRETS, st.data())
def test_a_body_that_is_cut_within_a_secret_shows_no_part_of_it(
    secret: str, data: st.DataObject
) -> None:
    part = secret.encode()[: data.draw(st.integers(4, len(secret.encode()) - 1))]
    body = b"\n" * MAX_ERROR_BODY + part
    authorization = AccountToken(AC, secret).authorization
    bare = Response(400, {}, body, authorization=authorization).without_secrets()
    assert bare.body.endswith(MASK.encode())
    assert part not in bare.body


def test_a_response_without_a_secret_stays_as_it_is() -> None:
    response = Response(400, {"A": "b"}, b"text", 0.5, authorization=Secret("Bearer t0k3n"))
    bare = response.without_secrets()
    assert bare == response
    assert bare.headers is response.headers
    assert response.mask("text") == "text"


def test_text_that_is_too_short_to_be_a_secret_is_not_masked() -> None:
    assert secrets_in("Bearer a") == ()
    assert redacted("text", [""]) == "text"


@pytest.mark.parametrize("header", ["Basic !", "Basic /w==", "Basic"])
def test_a_malformed_header_is_no_error(header: str) -> None:
    assert all(secrets_in(header))

"""Credentials: their Authorization headers, their sources, and that nothing shows them."""

import copy
import pickle
import traceback
from base64 import b64decode, b64encode
from random import Random

import attrs
import pytest
from hypothesis import given, strategies as st
from support.disguises import disguised

from marketplace_async import AccountToken, ApiKey, CredentialsError, MarketplaceClient, Secret
from marketplace_async.credentials import from_env

AC = "AC" + "a" * 32
SK = "SK" + "b" * 32
SECRET = "geheim-42"
GOOD = {"TWILIO_ACCOUNT_SID": AC, "TWILIO_AUTH_TOKEN": SECRET}
SHOWN = (SECRET, b64encode(SECRET.encode()).decode(), b64encode(f"{AC}:{SECRET}".encode()).decode())


def test_an_account_token_is_basic_authentication() -> None:
    scheme, _, encoded = AccountToken(AC, SECRET).authorization.reveal().partition(" ")
    assert (scheme, b64decode(encoded).decode()) == ("Basic", f"{AC}:{SECRET}")


def test_an_api_key_does_not_send_its_account() -> None:
    scheme, _, encoded = ApiKey(SK, SECRET, AC).authorization.reveal().partition(" ")
    assert (scheme, b64decode(encoded).decode()) == ("Basic", f"{SK}:{SECRET}")


@pytest.mark.parametrize(
    "shown",
    [
        AccountToken(AC, SECRET),
        ApiKey(SK, SECRET, AC),
        Secret(SECRET),
        attrs.asdict(AccountToken(AC, SECRET)),
        MarketplaceClient(AccountToken(AC, SECRET)),
        from_env({"TWILIO_ACCOUNT_SID": AC, "TWILIO_AUTH_TOKEN": SECRET}),
    ],
    ids=lambda shown: type(shown).__name__,
)
def test_nothing_prints_a_secret(shown: object) -> None:
    for text in (repr(shown), str(shown), f"{shown}"):
        assert not any(secret in text for secret in SHOWN)


@pytest.mark.parametrize(
    "credential", [Secret(SECRET), AccountToken(AC, SECRET), ApiKey(SK, SECRET)]
)
def test_secrets_cannot_be_pickled(credential: object) -> None:
    with pytest.raises(TypeError, match="never pickled") as error:
        pickle.dumps(credential)
    assert SECRET not in "".join(traceback.format_exception(error.value))


def test_a_secret_that_cannot_be_encoded_is_refused_without_showing_it() -> None:
    with pytest.raises(ValueError, match="not valid Unicode") as error:
        AccountToken(AC, SECRET + "\udcff")
    assert SECRET not in "".join(traceback.format_exception(error.value))
    assert error.value.__context__ is None or error.value.__suppress_context__


@given(secret=st.text(min_size=1).filter(str.strip), random=st.randoms(use_true_random=False))
def test_credentials_hold_plain_text(secret: str, random: Random) -> None:
    def shown(text: str) -> str:
        value: str = disguised(text, random)
        return value

    for credentials, plain in (
        (AccountToken(shown(AC), shown(secret)), AccountToken(AC, secret)),
        (ApiKey(shown(SK), shown(secret), shown(AC)), ApiKey(SK, secret, AC)),
    ):
        assert credentials == plain
        assert repr(credentials) == repr(plain)
        assert credentials.authorization.reveal() == plain.authorization.reveal()
        assert type(credentials.account_sid) is str
    assert type(Secret(shown(secret)).reveal()) is str
    environ = {name: shown(value) for name, value in GOOD.items()}
    assert from_env(environ).credentials == from_env(GOOD).credentials


def test_credentials_can_be_copied() -> None:
    credentials = AccountToken(AC, SECRET)
    assert copy.deepcopy(credentials) == credentials


def test_secrets_compare_by_value_and_are_hashable() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert hash(AccountToken(AC, SECRET)) == hash(AccountToken(AC, Secret(SECRET)))


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", ValueError, "must not be blank"),
        ("  ", ValueError, "must not be blank"),
        (5, TypeError, "expected text"),
    ],
)
def test_a_secret_is_text(text: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=rf"a secret .token, key secret.: {message}"):
        AccountToken(AC, text)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: AccountToken(SK, SECRET), "account_sid: .* is not the SID of an account"),
        (lambda: AccountToken(SECRET, AC), "account_sid: .* got 9 characters"),
        (lambda: ApiKey(SECRET, SK), "key_sid: .* got 9 characters"),
        (lambda: ApiKey(AC, SECRET), "key_sid: .* is not the SID of an API key"),
        (
            lambda: ApiKey(SK, SECRET, SECRET),
            "account_sid: expected the SID of an account .* got 9",
        ),
    ],
)
def test_credentials_check_their_sids_without_showing_the_secret(build, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message) as error:
        build()
    assert SECRET not in str(error.value)


def test_an_account_token_is_read_from_the_environment() -> None:
    environment = from_env({"TWILIO_ACCOUNT_SID": AC, "TWILIO_AUTH_TOKEN": SECRET})
    assert environment.credentials == AccountToken(AC, SECRET)
    assert environment.variables == {
        "account_sid": "TWILIO_ACCOUNT_SID",
        "auth_token": "TWILIO_AUTH_TOKEN",
    }


def test_an_api_key_takes_precedence_over_an_auth_token() -> None:
    environment = from_env(
        {
            "TWILIO_ACCOUNT_SID": AC,
            "TWILIO_AUTH_TOKEN": "unused",
            "TWILIO_API_KEY": SK,
            "TWILIO_API_SECRET": SECRET,
            "TWILIO_REGION": "au1",
            "TWILIO_EDGE": "sydney",
            "MARKETPLACE_BASE_URL": "http://127.0.0.1:1",
        }
    )
    assert environment.credentials == ApiKey(SK, SECRET, AC)
    assert (environment.region, environment.edge) == ("au1", "sydney")
    assert environment.base_url == "http://127.0.0.1:1"
    assert environment.variables == {
        "account_sid": "TWILIO_ACCOUNT_SID",
        "key_sid": "TWILIO_API_KEY",
        "key_secret": "TWILIO_API_SECRET",
        "region": "TWILIO_REGION",
        "edge": "TWILIO_EDGE",
        "base_url": "MARKETPLACE_BASE_URL",
    }


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({}, "TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN missing"),
        ({"TWILIO_ACCOUNT_SID": AC}, "^TWILIO_AUTH_TOKEN missing"),
        ({"TWILIO_ACCOUNT_SID": AC, "TWILIO_AUTH_TOKEN": " "}, "^TWILIO_AUTH_TOKEN missing"),
        ({"TWILIO_AUTH_TOKEN": SECRET}, "^TWILIO_ACCOUNT_SID missing"),
        ({"TWILIO_ACCOUNT_SID": SECRET, "TWILIO_AUTH_TOKEN": AC}, "^TWILIO_ACCOUNT_SID: expected"),
        ({"TWILIO_API_KEY": SECRET, "TWILIO_API_SECRET": SK}, "^TWILIO_API_KEY: expected"),
        ({**GOOD, "MARKETPLACE_BASE_URL": "localhost:1"}, "^MARKETPLACE_BASE_URL: expected a URL"),
        ({**GOOD, "TWILIO_REGION": "x/y"}, "^TWILIO_REGION: expected a name"),
        ({**GOOD, "TWILIO_EDGE": "x.y"}, "^TWILIO_EDGE: expected a name"),
        ({"TWILIO_API_KEY": SK}, "^TWILIO_API_SECRET missing"),
        ({"TWILIO_API_SECRET": SECRET}, "^TWILIO_API_KEY missing"),
    ],
)
def test_missing_and_malformed_variables_are_named(environ: dict[str, str], message: str) -> None:
    with pytest.raises(CredentialsError, match=message) as error:
        from_env(environ)
    assert SECRET not in str(error.value)


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWILIO_ACCOUNT_SID", AC)
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", SECRET)
    monkeypatch.delenv("TWILIO_API_KEY", raising=False)
    monkeypatch.delenv("TWILIO_API_SECRET", raising=False)
    assert from_env().credentials == AccountToken(AC, SECRET)

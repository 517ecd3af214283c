"""Who asks: the credentials of an account, and where the environment has them."""

import hmac
import os
from base64 import b64encode
from collections.abc import Mapping
from typing import NoReturn, TypeAlias

import attrs

from ._wire import check_sid
from .errors import CredentialsError


class Secret:
    """Text that is not shown: not by repr() or str(), not in logs, and never pickled.

    `reveal()` gives the text. Two secrets compare in constant time.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            raise TypeError(f"a secret: expected text, got {type(text).__name__}")
        if not text.strip():
            raise ValueError("a secret: expected text that is not empty")
        self._text = text

    def reveal(self) -> str:
        """Return the text itself."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(...)"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is never pickled: send the name of a credential, not its value")


def _to_secret(value: str | Secret) -> Secret:
    return value if isinstance(value, Secret) else Secret(value)


def _basic(user: str, secret: Secret) -> Secret:
    return Secret("Basic " + b64encode(f"{user}:{secret.reveal()}".encode()).decode())


@attrs.frozen
class AccountToken:
    """An account SID (`AC...`) and its auth token.

    See https://www.twilio.com/docs/iam/api/authtoken
    """

    account_sid: str
    auth_token: Secret = attrs.field(converter=_to_secret)
    authorization: Secret = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        check_sid("AC", self.account_sid, "account_sid")
        object.__setattr__(self, "authorization", _basic(self.account_sid, self.auth_token))


@attrs.frozen
class ApiKey:
    """An API key SID (`SK...`) and its secret: what the vendor recommends.

    The service finds the account from the key, so that `account_sid` is for those who have it.

    See https://www.twilio.com/docs/iam/api-keys
    """

    key_sid: str
    key_secret: Secret = attrs.field(converter=_to_secret)
    account_sid: str | None = None
    authorization: Secret = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        check_sid("SK", self.key_sid, "key_sid")
        if self.account_sid is not None:
            check_sid("AC", self.account_sid, "account_sid")
        object.__setattr__(self, "authorization", _basic(self.key_sid, self.key_secret))


Credentials: TypeAlias = AccountToken | ApiKey


@attrs.frozen
class Environment:
    """What the environment says, and which variables said it.

    Attributes:
        credentials: The credentials.
        region: The region, such as au1, if set.
        edge: The edge location, such as sydney, if set.
        base_url: What stands for the vendor's hosts, if set.
        variables: The name of each setting and of the variable that it was read from.
    """

    credentials: Credentials
    region: str | None
    edge: str | None
    base_url: str | None
    variables: Mapping[str, str] = attrs.field(hash=False)


def from_env(environ: Mapping[str, str] | None = None) -> Environment:
    """Read credentials and settings from `environ`, by default the process's environment.

    An API key (`TWILIO_API_KEY`, `TWILIO_API_SECRET`) goes before an auth token
    (`TWILIO_ACCOUNT_SID`, `TWILIO_AUTH_TOKEN`). `TWILIO_REGION`, `TWILIO_EDGE` and
    `MARKETPLACE_BASE_URL` are optional. A variable that is empty counts as not set.

    Raises:
        CredentialsError: Variables are missing; the message names them.
        ValueError: A variable holds what cannot be right; the message names the setting.
    """
    environ = os.environ if environ is None else environ
    variables: dict[str, str] = {}

    def read(setting: str, variable: str) -> str | None:
        value = environ.get(variable, "").strip() or None
        if value is not None:
            variables[setting] = variable
        return value

    account_sid = read("account_sid", "TWILIO_ACCOUNT_SID")
    key_sid = read("key_sid", "TWILIO_API_KEY")
    key_secret = read("key_secret", "TWILIO_API_SECRET")
    credentials: Credentials
    if key_sid or key_secret:
        if not (key_sid and key_secret):
            missing, given = "TWILIO_API_KEY", "TWILIO_API_SECRET"
            if key_sid:
                missing, given = given, missing
            raise CredentialsError(f"{given} is set, but {missing} is missing")
        credentials = ApiKey(key_sid, key_secret, account_sid)
    else:
        auth_token = read("auth_token", "TWILIO_AUTH_TOKEN")
        if not (account_sid and auth_token):
            missing = " and ".join(
                variable
                for variable, value in (
                    ("TWILIO_ACCOUNT_SID", account_sid),
                    ("TWILIO_AUTH_TOKEN", auth_token),
                )
                if not value
            )
            raise CredentialsError(
                f"{missing} missing from the environment "
                "(an API key in TWILIO_API_KEY and TWILIO_API_SECRET would do as well)"
            )
        credentials = AccountToken(account_sid, auth_token)
    return Environment(
        credentials,
        region=read("region", "TWILIO_REGION"),
        edge=read("edge", "TWILIO_EDGE"),
        base_url=read("base_url", "MARKETPLACE_BASE_URL"),
        variables=variables,
    )

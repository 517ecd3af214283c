"""The credentials of an account, and how to read them from the environment."""

import os
from base64 import b64encode
from collections.abc import Mapping
from typing import NoReturn, TypeAlias

import attrs

from ._core.arguments import check_base_url, check_location, check_sid, plain_text
from ._core.frames import hide_arguments, hide_init_arguments
from .errors import CredentialsError


class Secret:
    """Text that repr(), str() and logs do not show, and that cannot be pickled.

    `reveal()` returns the text. Secrets compare in constant time.
    """

    __slots__ = ("_text",)

    @hide_arguments
    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            raise TypeError(
                f"a secret (token, key secret): expected text, got {type(text).__name__}"
            )
        text = plain_text(text)
        if not text.strip():
            raise ValueError("a secret (token, key secret): must not be blank")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError("a secret (token, key secret): not valid Unicode") from None
        self._text = text

    def reveal(self) -> str:
        """Return the text."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(...)"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        from hmac import compare_digest  # slow to import and rarely used

        return compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is never pickled: send the name of a credential, not its value")

    def __deepcopy__(self, memo: object) -> "Secret":
        return self


def _to_secret(value: str | Secret) -> Secret:
    return value if isinstance(value, Secret) else Secret(value)


def _check_sid(prefix: str, credentials: object, name: str) -> None:
    """Check a SID of new credentials, and keep what was checked."""
    sid = check_sid(prefix, getattr(credentials, name), name, may_be_secret=True)
    object.__setattr__(credentials, name, sid)


def _basic(user: str, secret: Secret) -> Secret:
    return Secret("Basic " + b64encode(f"{user}:{secret.reveal()}".encode()).decode())


@hide_init_arguments
@attrs.frozen
class AccountToken:
    """An account SID (`AC...`) and its auth token.

    See https://www.twilio.com/docs/iam/api/authtoken
    """

    account_sid: str
    auth_token: Secret = attrs.field(converter=_to_secret)
    authorization: Secret = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        sid = check_sid("AC", self.account_sid, "account_sid", may_be_secret=True)
        if sid is not self.account_sid:
            object.__setattr__(self, "account_sid", sid)
        object.__setattr__(self, "authorization", _basic(sid, self.auth_token))


@hide_init_arguments
@attrs.frozen
class ApiKey:
    """An API key SID (`SK...`) and its secret, as Twilio recommends.

    The service derives the account from the key. `account_sid` is compared with responses; it is
    not sent.

    See https://www.twilio.com/docs/iam/api-keys
    """

    key_sid: str
    key_secret: Secret = attrs.field(converter=_to_secret)
    account_sid: str | None = None
    authorization: Secret = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        _check_sid("SK", self, "key_sid")
        if self.account_sid is not None:
            _check_sid("AC", self, "account_sid")
        object.__setattr__(self, "authorization", _basic(self.key_sid, self.key_secret))


@hide_init_arguments
@attrs.frozen
class ClientCredentials:
    """The client ID (`OQ...`) of an OAuth app and its secret. The client fetches access tokens.

    The service derives the account from the token. `account_sid` is compared with responses; it is
    not sent.

    See https://www.twilio.com/docs/iam/oauth-apps
    """

    client_id: str
    client_secret: Secret = attrs.field(converter=_to_secret)
    account_sid: str | None = None

    def __attrs_post_init__(self) -> None:
        _check_sid("OQ", self, "client_id")
        if self.account_sid is not None:
            _check_sid("AC", self, "account_sid")


BasicCredentials: TypeAlias = AccountToken | ApiKey
Credentials: TypeAlias = BasicCredentials | ClientCredentials


@attrs.frozen
class Environment:
    """Credentials and settings, and the environment variables that they come from.

    Attributes:
        credentials: The credentials.
        region: The region, such as au1, if set.
        edge: The edge location, such as sydney, if set.
        base_url: A URL that replaces Twilio's hosts, if set.
        variables: Maps the name of each setting to the variable that it was read from.
    """

    credentials: Credentials
    region: str | None
    edge: str | None
    base_url: str | None
    variables: Mapping[str, str] = attrs.field(hash=False)


@hide_arguments
def from_env(environ: Mapping[str, str] | None = None) -> Environment:
    """Read credentials and settings from `environ`, by default the process's environment.

    An API key (`TWILIO_API_KEY`, `TWILIO_API_SECRET`) takes precedence over an OAuth app
    (`TWILIO_CLIENT_ID`, `TWILIO_CLIENT_SECRET`), and an OAuth app over an auth token
    (`TWILIO_ACCOUNT_SID`, `TWILIO_AUTH_TOKEN`). `TWILIO_REGION`, `TWILIO_EDGE` and
    `MARKETPLACE_BASE_URL` are optional. An empty variable counts as not set.

    Raises:
        CredentialsError: Variables are missing or malformed; the message names them.
    """
    environ = os.environ if environ is None else environ
    variables: dict[str, str] = {}

    def read(setting: str, variable: str) -> str | None:
        value = plain_text(environ.get(variable, "")).strip() or None
        if value is not None:
            variables[setting] = variable
        return value

    def read_sid(setting: str, prefix: str, variable: str) -> str | None:
        sid = read(setting, variable)
        return sid and check_sid(prefix, sid, variable, may_be_secret=True)

    try:
        account_sid = read_sid("account_sid", "AC", "TWILIO_ACCOUNT_SID")
        key_sid = read_sid("key_sid", "SK", "TWILIO_API_KEY")
        key_secret = read("key_secret", "TWILIO_API_SECRET")
        client_id = read_sid("client_id", "OQ", "TWILIO_CLIENT_ID")
        client_secret = read("client_secret", "TWILIO_CLIENT_SECRET")
        credentials: Credentials
        if key_sid or key_secret:
            _require(TWILIO_API_KEY=key_sid, TWILIO_API_SECRET=key_secret)
            credentials = ApiKey(key_sid or "", key_secret or "", account_sid)
        elif client_id or client_secret:
            _require(TWILIO_CLIENT_ID=client_id, TWILIO_CLIENT_SECRET=client_secret)
            credentials = ClientCredentials(client_id or "", client_secret or "", account_sid)
        else:
            auth_token = read("auth_token", "TWILIO_AUTH_TOKEN")
            _require(TWILIO_ACCOUNT_SID=account_sid, TWILIO_AUTH_TOKEN=auth_token)
            credentials = AccountToken(account_sid or "", auth_token or "")
        base_url = read("base_url", "MARKETPLACE_BASE_URL")
        return Environment(
            credentials,
            region=check_location(read("region", "TWILIO_REGION"), "TWILIO_REGION"),
            edge=check_location(read("edge", "TWILIO_EDGE"), "TWILIO_EDGE"),
            base_url=base_url and check_base_url(base_url, "MARKETPLACE_BASE_URL"),
            variables=variables,
        )
    except ValueError as error:
        raise CredentialsError(str(error)) from None


def _require(**variables: str | None) -> None:
    missing = [name for name, value in variables.items() if not value]
    if missing:
        raise CredentialsError(
            f"{' and '.join(missing)} missing from the environment: set TWILIO_API_KEY and "
            "TWILIO_API_SECRET, or TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN"
        )

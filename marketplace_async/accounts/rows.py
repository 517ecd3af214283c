"""The rows of an accounts file: their columns, and the account that a row describes."""

import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Final, TypeAlias

import attrs

from .._core.arguments import check_sid
from ..credentials import AccountToken, ApiKey, Credentials
from .account import STATUSES, Account

API_KEY: Final = ("api_key", "api_secret")
SECRETS: Final = ("auth_token", *API_KEY)

KNOWN: Final = ("account_sid", *SECRETS, "friendly_name", "status")
_BY_LETTERS: Final = {name.replace("_", ""): name for name in KNOWN}
# A value from such a column could be shown or stored with the account's configuration.
_SECRET_NAME = re.compile(r"secret|password|auth_token|api_key")
# A spreadsheet rounds text that looks like a number, and shows 32 digits as 1.23E+31. The sign
# tells it from a token, whose 32 hex digits may contain an "e".
_SPREADSHEET = re.compile(r"\d+(?:[.,]\d+)?[eE]\+\d+|#[A-Z/0!?]+|#+")


@attrs.frozen(repr=False)
class Row:
    """A well-formed row.

    Attributes:
        line: The number of its first line.
        offset: Where it starts: in bytes, or as an index of the rows that are kept in memory.
        account: Its account. One that is not active may have no credentials.
        columns: Its further columns.
    """

    line: int
    offset: int
    account: Account
    columns: Mapping[str, str]

    def digest(self, key: bytes) -> bytes:
        """Return 8 bytes that equal rows have in common. They tell nothing without the key."""
        account = self.account
        parts = [account.friendly_name or "", account.status or ""]
        match account.credentials:
            case AccountToken(_, token):
                parts += ["token", token.reveal()]
            case ApiKey(sid, secret):
                parts += ["key", sid, secret.reveal()]
        parts += [text for column in sorted(self.columns.items()) for text in column]
        digest = blake2b(key=key, digest_size=8)
        for part in parts:
            encoded = part.encode()
            digest.update(len(encoded).to_bytes(8) + encoded)
        return digest.digest()


@attrs.frozen
class BadRow:
    """A row that cannot be used.

    Attributes:
        line: The number of its first line.
        offset: As of `Row`.
        reason: What is wrong, without the content of a cell.
        account_sid: Its account, if that is readable and no other row stands for it.
        friendly_name: The account's friendly name. None if cells may be shifted.
    """

    line: int
    offset: int
    reason: str
    account_sid: str | None = None
    friendly_name: str | None = None

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}"


AnyRow: TypeAlias = Row | BadRow


def column_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names of columns in lower case with underscores, however they are written.

    "Account SID", "account-sid" and "AccountSid" are all `account_sid`. Without such a column,
    `sid` is, as in the output of `accounts list`.
    """
    columns = []
    for name in names:
        column = "_".join(word for word in re.split(r"[\W_]+", name.casefold()) if word)
        columns.append(_BY_LETTERS.get(column.replace("_", ""), column))
    if "account_sid" not in columns:
        columns = ["account_sid" if column == "sid" else column for column in columns]
    return tuple(columns)


def check_unique(columns: Sequence[str]) -> None:
    """Raise ValueError if two columns have the same name."""
    names = [name for name in columns if name]
    for name in {*names}:
        if names.count(name) > 1:
            raise ValueError(f"two columns are named {name}")


def row_of(fields: Mapping[str, str], line: int, offset: int) -> AnyRow:
    """Return the row with these values. Values have no surrounding space, and may be empty."""
    try:
        account = _account_of(fields)
    except ValueError as error:
        reason = str(error)
    else:
        columns = {
            name: value
            for name, value in fields.items()
            if name and name not in KNOWN and not _SECRET_NAME.search(name)
        }
        return Row(line, offset, account, columns)
    return BadRow(line, offset, reason, sid_or_none(fields.get("account_sid", "")))


def sid_or_none(text: str) -> str | None:
    """Return `text` if it is an account SID."""
    try:
        return check_sid("AC", text, "account_sid", may_be_secret=True)
    except ValueError:
        return None


def _account_of(fields: Mapping[str, str]) -> Account:
    for name in ("account_sid", *SECRETS):
        value = fields.get(name, "")
        if value and not value.isalnum() and _SPREADSHEET.fullmatch(value):
            raise ValueError(
                f"{name}: a spreadsheet has changed it into a number or an error; "
                "format the column as text and enter it again"
            )
    sid = check_sid("AC", fields.get("account_sid", ""), "account_sid", may_be_secret=True)
    status = fields.get("status", "").lower() or None
    if status not in (None, *STATUSES):
        # Do not show the value: if cells are shifted, it is a secret.
        raise ValueError(f"status: expected one of {', '.join(STATUSES)}")
    return Account(
        sid=sid,
        friendly_name=fields.get("friendly_name") or None,
        status=status,
        credentials=_credentials_of(sid, fields, required=status in (None, "active")),
    )


def _credentials_of(sid: str, fields: Mapping[str, str], *, required: bool) -> Credentials | None:
    auth_token, api_key, api_secret = (fields.get(name, "") for name in SECRETS)
    if api_key or api_secret:
        if not (api_key and api_secret):
            raise ValueError("expected api_key and api_secret together")
        check_sid("SK", api_key, "api_key", may_be_secret=True)
        return ApiKey(api_key, api_secret, sid)
    if auth_token:
        return AccountToken(sid, auth_token)
    if required:
        raise ValueError("expected auth_token, or api_key and api_secret")
    return None

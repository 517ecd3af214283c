"""The accounts that a parent account lists."""

from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Final

import attrs
from msgspec import UNSET, UnsetType

from .._core.arguments import check_sid, check_text
from .._core.codec import to, unusable
from .._core.cursor import Meta
from .._core.expectations import expecting, mismatches
from .._core.messages import Request, Response, trusted_request
from .._core.operation import Call
from .._core.pagination import Paginator
from .._core.records import Envelope, Record, absent, marked
from ..credentials import AccountToken
from .account import Account, AccountStatus, check_status

_ROOT: Final = "/2010-04-01/Accounts"


class Accounts:
    """`client.accounts`: the authenticated account and its subaccounts.

    The responses contain auth tokens, so errors, `capture()` and pickles omit their bodies.
    """

    def __init__(self, call: Call) -> None:
        self._call = call

    async def fetch(self, sid: str) -> Account:
        """Fetch the authenticated account or one of its subaccounts.

        Args:
            sid: The account SID, `AC...`.

        Raises:
            ValueError, TypeError: `sid` is not an account SID. Nothing was sent.
            NotFoundError: The account does not exist, or is not a subaccount of this one.
            MarketplaceError: The request failed.

        See https://www.twilio.com/docs/iam/api/account
        """
        sid = check_sid("AC", sid, "sid")
        path = f"{_ROOT}/{sid}.json"
        request = trusted_request("GET", path, operation="accounts.fetch", host="api")
        return await self._call(request, expecting(_account_of, sid=sid))

    def list(
        self,
        *,
        status: AccountStatus | None = None,
        friendly_name: str | None = None,
        limit: int | None = None,
        page_size: int | None = None,
        start: str | None = None,
        prefetch: bool = True,
    ) -> Paginator[Account]:
        """List the authenticated account and its subaccounts, with credentials.

        Args:
            status: Only accounts that are "active", "suspended" or "closed".
            friendly_name: Only accounts with exactly this name.
            limit: Maximum number of accounts, at least 0. Unlimited by default.
            page_size: Accounts per request, 1 to 1000. By default as many as `limit` needs.
            start: A saved `page.next_url`, to resume there. It has its own page size and filters.
            prefetch: Whether to fetch the next page while you process the current one.

        Returns:
            A list to iterate with `async for`, or to `collect()`. Nothing is sent before that.

        Raises:
            ValueError, TypeError: An option or a filter is invalid.

        See https://www.twilio.com/docs/iam/api/subaccounts
        """
        filters = {}
        if status is not None:
            filters["Status"] = check_status(status)
        if friendly_name is not None:
            filters["FriendlyName"] = check_text(friendly_name, "friendly_name")
        return Paginator(
            self._call,
            f"{_ROOT}.json",
            partial(
                _page_of,
                status=filters.get("Status"),
                friendly_name=filters.get("FriendlyName"),
            ),
            "accounts",
            filters,
            limit=limit,
            page_size=page_size,
            start=start,
            prefetch=prefetch,
            operation="accounts.list",
            host="api",
        )


@attrs.frozen(eq=False, repr=False)
class _Document(Record):
    sid: str
    friendly_name: str | None = attrs.field(factory=absent)
    status: str | None = attrs.field(factory=absent)
    owner_account_sid: str | None = attrs.field(factory=absent)
    date_created: str | None = attrs.field(factory=absent)
    date_updated: str | None = attrs.field(factory=absent)
    auth_token: str | None = attrs.field(default=None, repr=False)

    def account(self) -> Account:
        sid = check_sid("AC", self.sid, "sid", may_be_secret=True)
        unreadable = dict(self.unreadable)
        credentials = None
        try:
            if "auth_token" in unreadable:
                raise ValueError("not text")
            if self.auth_token:
                credentials = AccountToken(sid, self.auth_token)
        except ValueError:
            # Whatever it is, it may be a secret.
            unreadable.pop("auth_token", None)
            unreadable["credentials"] = attrs.NOTHING
        account = Account(
            sid=sid,
            friendly_name=self.friendly_name,
            status=self.status,
            owner_account_sid=self.owner_account_sid,
            date_created=_utc(self.date_created, "date_created", unreadable),
            date_updated=_utc(self.date_updated, "date_updated", unreadable),
            credentials=credentials,
        )
        return marked(account, unreadable)


@attrs.frozen(eq=False, repr=False)
class _PageDocument(Envelope):
    accounts: tuple[_Document, ...]
    next_page_uri: str | UnsetType | None = UNSET
    uri: str | None = None
    page_size: int | None = None


@attrs.frozen(eq=False, repr=False)
class _Page:
    accounts: tuple[Account, ...]
    meta: Meta


def _account_of(request: Request, response: Response) -> Account:
    document = to(_Document)(request, response)
    (account,) = _accounts(request, response, [document])
    return account


def _page_of(
    request: Request, response: Response, *, status: str | None, friendly_name: str | None
) -> _Page:
    page = to(_PageDocument)(request, response)
    accounts = _accounts(request, response, page.accounts)
    asked = {"status": status, "friendly_name": friendly_name}
    for account in accounts:
        if differences := mismatches(account, asked):
            reason = f"{account.sid} does not belong to this list: {differences}"
            raise unusable(request, response, reason)
    return _Page(
        accounts,
        Meta("accounts", page.next_page_uri, page.uri, page.page_size),
    )


def _accounts(
    request: Request, response: Response, documents: Sequence[_Document]
) -> tuple[Account, ...]:
    try:
        return tuple(document.account() for document in documents)
    except ValueError as error:
        reason = f"the body is not what the API promises: {error}"
    # Raised outside the `except` block: the frames of the cause hold a token.
    raise unusable(request, response, reason)


def _utc(text: str | None, name: str, unreadable: dict[str, Any]) -> datetime | None:
    """Parse an RFC 2822 date, or note that it is unreadable. The zone "-0000" stands for UTC."""
    if text is None or name in unreadable:
        return None
    try:
        date = parsedate_to_datetime(text)
        return date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        unreadable[name] = text
        return None

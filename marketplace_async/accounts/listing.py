"""The accounts that a parent account lists."""

from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import attrs

from .._core.arguments import check_sid, check_text
from .._core.codec import decode
from .._core.messages import Request, Response
from .._core.operation import Call
from .._core.pagination import Meta, Paginator
from ..credentials import AccountToken
from ..errors import ResponseError
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
        request = Request("GET", f"{_ROOT}/{check_sid('AC', sid, 'sid')}.json")
        return await self._call(request, _account_of)

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
            _page_of,
            "accounts",
            filters,
            limit=limit,
            page_size=page_size,
            start=start,
            prefetch=prefetch,
        )


@attrs.frozen(eq=False, repr=False)
class _Document:
    sid: str
    friendly_name: str | None = None
    status: str | None = None
    owner_account_sid: str | None = None
    date_created: str | None = None
    date_updated: str | None = None
    auth_token: str | None = None

    def account(self) -> Account:
        token = self.auth_token
        check_sid("AC", self.sid, "sid", may_be_secret=True)
        return Account(
            sid=self.sid,
            friendly_name=self.friendly_name,
            status=self.status,
            owner_account_sid=self.owner_account_sid,
            date_created=_utc(self.date_created, "date_created"),
            date_updated=_utc(self.date_updated, "date_updated"),
            credentials=AccountToken(self.sid, token) if token else None,
        )


@attrs.frozen(eq=False, repr=False)
class _PageDocument:
    accounts: tuple[_Document, ...]
    next_page_uri: str | None
    uri: str | None = None


@attrs.frozen(eq=False, repr=False)
class _Page:
    accounts: tuple[Account, ...]
    meta: Meta


def _account_of(request: Request, response: Response) -> Account:
    document = decode(request, response, cls=_Document)
    (account,) = _accounts(request, response, [document])
    return account


def _page_of(request: Request, response: Response) -> _Page:
    page = decode(request, response, cls=_PageDocument)
    return _Page(
        _accounts(request, response, page.accounts),
        Meta("accounts", page.next_page_uri, page.uri),
    )


def _accounts(
    request: Request, response: Response, documents: Sequence[_Document]
) -> tuple[Account, ...]:
    try:
        return tuple(document.account() for document in documents)
    except ValueError as error:
        reason = f"the body is not what the API promises: {error}"
    # Raised outside the `except` block: the frames of the cause hold a token.
    raise ResponseError(request, response, reason)


def _utc(text: str | None, name: str) -> datetime | None:
    """Parse an RFC 2822 date. The zone "-0000" stands for UTC."""
    if text is None:
        return None
    try:
        date = parsedate_to_datetime(text)
        return date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        raise ValueError(f"{name}: expected an RFC 2822 date") from None

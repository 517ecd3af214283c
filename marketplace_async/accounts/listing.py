"""Accounts as their parent lists them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, Unpack

import attrs

from .._core.arguments import check_sid, check_text
from .._core.codec import decode
from .._core.messages import Request, Response
from .._core.operation import Call
from .._core.pagination import ListOptions, Meta, Paginator
from ..credentials import AccountToken
from ..errors import ResponseError
from .account import Account, AccountStatus, check_status

_ROOT: Final = "/2010-04-01/Accounts"


class Accounts:
    """`client.accounts`: the account that asks, and its subaccounts.

    The answers hold auth tokens: errors, `capture()` and pickles go without their bodies.
    """

    def __init__(self, call: Call) -> None:
        self._call = call

    async def fetch(self, sid: str) -> Account:
        """Fetch the account that asks, or one of its subaccounts.

        Args:
            sid: Its SID, `AC...`.

        Raises:
            ValueError, TypeError: `sid` is no such SID; nothing was sent.
            NotFoundError: There is no such account, or it is another's.
            MarketplaceError: Any other failure.

        See https://www.twilio.com/docs/iam/api/account
        """
        request = Request("GET", f"{_ROOT}/{check_sid('AC', sid, 'sid')}.json")
        return await self._call(request, _account_of)

    def list(
        self,
        *,
        status: AccountStatus | None = None,
        friendly_name: str | None = None,
        **options: Unpack[ListOptions],
    ) -> Paginator[Account]:
        """List the account that asks and its subaccounts, each with its credentials.

        Args:
            status: Only those that are "active", "suspended" or "closed".
            friendly_name: Only those of exactly this name.
            options: `limit`, `page_size` and `start`, as in `ListOptions`. A link to start at
                carries filters of its own.

        Returns:
            A list to iterate with `async for`, or to `collect()`; nothing is sent before that.

        Raises:
            ValueError, TypeError: An option or a filter is out of range.

        See https://www.twilio.com/docs/iam/api/subaccounts
        """
        filters = {}
        if status is not None:
            filters["Status"] = check_status(status)
        if friendly_name is not None:
            filters["FriendlyName"] = check_text(friendly_name, "friendly_name")
        return Paginator(self._call, f"{_ROOT}.json", _page_of, "accounts", filters, **options)


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
    # Out here, so that no frame of the causes shows a token among its variables.
    raise ResponseError(request, response, reason)


def _utc(text: str | None, name: str) -> datetime | None:
    """Return an RFC 2822 date; one that keeps its zone to itself is in UTC, as that says."""
    if text is None:
        return None
    try:
        date = parsedate_to_datetime(text)
        return date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        raise ValueError(f"{name}: expected a date as in RFC 2822") from None

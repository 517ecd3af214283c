"""The operations on accounts: a parent account and its subaccounts."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final

import attrs

from .calls import Call, Document, Operation, Response
from .paging import Page, paginate
from .records import Account, Slice
from .responses import ErrorResponse
from .store import Store

ROOT: Final = "/2010-04-01"
STATUSES: Final = ("active", "suspended", "closed")

_MAX_NAME: Final = 64
# The documented subresources of an account. The emulator does not serve them.
_SUBRESOURCES: Final = {
    "addresses": "Addresses",
    "applications": "Applications",
    "authorized_connect_apps": "AuthorizedConnectApps",
    "available_phone_numbers": "AvailablePhoneNumbers",
    "balance": "Balance",
    "calls": "Calls",
    "conferences": "Conferences",
    "connect_apps": "ConnectApps",
    "incoming_phone_numbers": "IncomingPhoneNumbers",
    "keys": "Keys",
    "messages": "Messages",
    "notifications": "Notifications",
    "outgoing_caller_ids": "OutgoingCallerIds",
    "queues": "Queues",
    "recordings": "Recordings",
    "short_codes": "SMS/ShortCodes",
    "signing_keys": "SigningKeys",
    "sip": "SIP",
    "transcriptions": "Transcriptions",
    "usage": "Usage",
}


class AccountRoutes:
    """The operations on the accounts of one store.

    Args:
        store: The accounts.
        secrets: Auth tokens of accounts that were not created in the store, by SID.
    """

    def __init__(self, store: Store, secrets: Mapping[str, str] | None = None) -> None:
        self._store = store
        self._secrets = secrets or {}

    def routes(self) -> list[tuple[str, str, Operation]]:
        """Return the method, path and operation of each route."""
        accounts = f"{ROOT}/Accounts"
        return [
            ("GET", f"{accounts}.json", self.list_accounts),
            ("POST", f"{accounts}.json", self.create),
            ("GET", f"{accounts}/{{ac}}.json", self.fetch),
            ("POST", f"{accounts}/{{ac}}.json", self.update),
        ]

    def list_accounts(self, call: Call) -> Response:
        viewer = self._store.ensure_account(call.account_sid)
        status, name = call.query.get("Status") or None, call.query.get("FriendlyName") or None
        _check_status(status)

        def slices(size: int, after: str | None, before: str | None) -> Slice | None:
            found = self._store.accounts(
                viewer, size, after=after, before=before, status=status, friendly_name=name
            )
            if found is None:
                return None
            return attrs.evolve(found, items=[self._document(item) for item in found.items])

        page = paginate(call.query, slices, filters=("FriendlyName", "Status"))
        return 200, page_document(call, "accounts", page)

    def create(self, call: Call) -> Response:
        name = _friendly_name(call.form())
        ((sid, _),) = self.add(call.account_sid, [name or _default_name()])
        return 201, self._document(self._store.ensure_account(sid))

    def fetch(self, call: Call) -> Response:
        return 200, self._document(self.visible(call))

    def update(self, call: Call) -> Response:
        account = self.visible(call)
        fields = call.form()
        name, status = _friendly_name(fields), fields.get("Status")
        _check_status(status)
        if status is not None and account.sid == call.account_sid:
            raise ErrorResponse("own_status")
        if account.status == "closed" and status not in (None, "closed"):
            raise ErrorResponse("account_closed", sid=account.sid)
        self._store.update_account(account.sid, name, status)
        return 200, self._document(self.visible(call))

    def add(
        self, owner_account_sid: str, friendly_names: Iterable[str], status: str = "active"
    ) -> list[tuple[str, str]]:
        """Create subaccounts in one transaction. Returns the SID and auth token of each."""
        if self._store.ensure_account(owner_account_sid).is_subaccount:
            raise ErrorResponse("subaccount_owner")
        return self._store.add_accounts(owner_account_sid, friendly_names, status)

    def visible(self, call: Call) -> Account:
        """Return the account in a path: the authenticated one or a subaccount of it."""
        viewer = self._store.ensure_account(call.account_sid)
        account = self._store.account(call.segments["ac"])
        if account is None or viewer.sid not in (account.sid, account.owner_account_sid):
            raise call.not_found()
        return account

    def _document(self, account: Account) -> Document:
        path = f"{ROOT}/Accounts/{account.sid}"
        return {
            "sid": account.sid,
            "auth_token": self._secrets.get(account.sid, account.auth_token),
            "friendly_name": account.friendly_name,
            "status": account.status,
            "owner_account_sid": account.owner_account_sid,
            "type": "Full",
            "date_created": rfc_2822(account.date_created),
            "date_updated": rfc_2822(account.date_updated),
            "uri": f"{path}.json",
            "subresource_uris": {
                name: f"{path}/{segment}.json" for name, segment in _SUBRESOURCES.items()
            },
        }


def _friendly_name(fields: Mapping[str, str]) -> str | None:
    name = fields.get("FriendlyName")
    if name is not None and len(name) > _MAX_NAME:
        why = f"longer than {_MAX_NAME} characters"
        raise ErrorResponse("parameter_invalid", name="FriendlyName", why=why)
    return name


def _check_status(status: str | None) -> None:
    if status is not None and status not in STATUSES:
        why = f"must be one of {', '.join(STATUSES)}"
        raise ErrorResponse("parameter_invalid", name="Status", why=why)


def _default_name() -> str:
    return datetime.now(UTC).strftime("SubAccount Created at %Y-%m-%d %I:%M %p")


def page_document(call: Call, name: str, page: Page) -> Document:
    """Return one page in the format of the core API: items under `name`, links beside them."""

    def uri(query: str | None) -> str | None:
        return query and f"{call.path}?{query}"

    start = page.number * page.size
    return {
        name: page.items,
        "page": page.number,
        "page_size": page.size,
        "start": start,
        "end": max(start, start + len(page.items) - 1),
        "uri": uri(page.current),
        "first_page_uri": uri(page.first),
        "previous_page_uri": uri(page.previous),
        "next_page_uri": uri(page.next),
    }


def rfc_2822(date: str) -> str:
    """Return a date in the format of the core API."""
    return format_datetime(datetime.fromisoformat(date))

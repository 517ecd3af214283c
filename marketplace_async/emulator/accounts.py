"""The operations on accounts, below /2010-04-01: a parent, and the subaccounts that it makes."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final

import attrs

from .answers import Refused
from .paging import cut
from .routes import Answer, Call, Document, Operation
from .store import Account, Slice, Store

ROOT: Final = "/2010-04-01"
STATUSES: Final = ("active", "suspended", "closed")

_LONGEST_NAME: Final = 64
# What the vendor says is below an account. Nothing here serves it.
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
        store: Where the accounts are.
        secrets: The secrets of those that were not made here, by SID, if they are known.
    """

    def __init__(self, store: Store, secrets: Mapping[str, str] | None = None) -> None:
        self._store = store
        self._secrets = secrets or {}

    def table(self) -> list[tuple[str, str, Operation]]:
        """Return method, path and operation."""
        accounts = f"{ROOT}/Accounts"
        return [
            ("GET", f"{accounts}.json", self.list_accounts),
            ("POST", f"{accounts}.json", self.create),
            ("GET", f"{accounts}/{{ac}}.json", self.fetch),
            ("POST", f"{accounts}/{{ac}}.json", self.update),
        ]

    def list_accounts(self, call: Call) -> Answer:
        asking = self._store.ensure_account(call.account_sid)
        status, name = call.query.get("Status") or None, call.query.get("FriendlyName") or None
        _check_status(status)

        def slices(size: int, after: str | None, before: str | None) -> Slice | None:
            found = self._store.accounts(
                asking, size, after=after, before=before, status=status, friendly_name=name
            )
            if found is None:
                return None
            return attrs.evolve(found, items=[self._document(item) for item in found.items])

        page = cut(call.query, slices, filters=("FriendlyName", "Status"))

        def uri(query: str | None) -> str | None:
            return query and f"{call.path}?{query}"

        start = page.number * page.size
        return 200, {
            "accounts": page.items,
            "page": page.number,
            "page_size": page.size,
            "start": start,
            "end": max(start, start + len(page.items) - 1),
            "uri": uri(page.here),
            "first_page_uri": uri(page.first),
            "previous_page_uri": uri(page.previous),
            "next_page_uri": uri(page.following),
        }

    def create(self, call: Call) -> Answer:
        name = _friendly_name(call.form())
        ((sid, _),) = self.add(call.account_sid, [name or _name_of_now()])
        return 201, self._document(self._store.ensure_account(sid))

    def fetch(self, call: Call) -> Answer:
        return 200, self._document(self._account(call))

    def update(self, call: Call) -> Answer:
        account = self._account(call)
        fields = call.form()
        name, status = _friendly_name(fields), fields.get("Status")
        _check_status(status)
        if status is not None and account.sid == call.account_sid:
            raise Refused("own_status")
        if account.status == "closed" and status not in (None, "closed"):
            raise Refused("account_closed", sid=account.sid)
        self._store.update_account(account.sid, name, status)
        return 200, self._document(self._account(call))

    def add(
        self, owner_account_sid: str, friendly_names: Iterable[str], status: str = "active"
    ) -> list[tuple[str, str]]:
        """Make subaccounts, all of them or none; gives the SID and the auth token of each."""
        if self._store.ensure_account(owner_account_sid).is_subaccount:
            raise Refused("subaccount_owner")
        return self._store.add_accounts(owner_account_sid, friendly_names, status)

    def _account(self, call: Call) -> Account:
        asking = self._store.ensure_account(call.account_sid)
        account = self._store.account(call.segments["ac"])
        if account is None or asking.sid not in (account.sid, account.owner_account_sid):
            raise Refused("not_found", path=call.path)
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
            "date_created": _rfc_2822(account.date_created),
            "date_updated": _rfc_2822(account.date_updated),
            "uri": f"{path}.json",
            "subresource_uris": {
                name: f"{path}/{segment}.json" for name, segment in _SUBRESOURCES.items()
            },
        }


def _friendly_name(fields: Mapping[str, str]) -> str | None:
    name = fields.get("FriendlyName")
    if name is not None and len(name) > _LONGEST_NAME:
        why = f"longer than {_LONGEST_NAME} characters"
        raise Refused("parameter_invalid", name="FriendlyName", why=why)
    return name


def _check_status(status: str | None) -> None:
    if status is not None and status not in STATUSES:
        why = f"expected one of {', '.join(STATUSES)}"
        raise Refused("parameter_invalid", name="Status", why=why)


def _name_of_now() -> str:
    return datetime.now(UTC).strftime("SubAccount Created at %Y-%m-%d %I:%M %p")


def _rfc_2822(date: str) -> str:
    return format_datetime(datetime.fromisoformat(date))

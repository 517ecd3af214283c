"""What belongs to Add-ons on the core API: those of a phone number, and results for recordings.

Any well-formed SID of a phone number or a recording exists.
"""

import re
import secrets
from datetime import UTC, datetime
from typing import Any, Final

import attrs
import msgspec

from .accounts import ROOT, AccountRoutes, page_document, rfc_2822
from .calls import Call, Document, Operation, Response, required
from .paging import paginate, slices_of
from .records import Installation
from .responses import ErrorResponse
from .store import Store, new_sid

_ACCOUNT: Final = f"{ROOT}/Accounts/{{ac}}"
_NUMBER: Final = f"{_ACCOUNT}/IncomingPhoneNumbers/{{pn}}/AssignedAddOns"
_RESULTS: Final = f"{_ACCOUNT}/Recordings/{{re}}/AddOnResults"
_PAYLOADS: Final = f"{_RESULTS}/{{xr}}/Payloads"
_DATA: Final = "/_signed-data"
SIGNED_DATA: Final = f"{_DATA}/{{xh}}"
_SID: Final = re.compile(r"(PN|RE)[0-9a-fA-F]{32}")


@attrs.frozen
class ResultPaths:
    """Where a new result is: its SID, the paths of its payloads, and those that `links` names."""

    sid: str
    payloads: tuple[str, ...]
    links: dict[str, str]


class CoreApi:
    """The operations of the core API on the Add-ons of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._accounts = AccountRoutes(store)

    def routes(self) -> list[tuple[str, str, Operation]]:
        """Return the method, path and operation of each route."""
        return [
            ("GET", f"{_NUMBER}.json", self.list_assigned),
            ("POST", f"{_NUMBER}.json", self.assign),
            ("GET", f"{_NUMBER}/{{xe}}.json", self.fetch_assigned),
            ("DELETE", f"{_NUMBER}/{{xe}}.json", self.unassign),
            ("GET", f"{_RESULTS}.json", self.list_results),
            ("GET", f"{_RESULTS}/{{xr}}.json", self.fetch_result),
            ("DELETE", f"{_RESULTS}/{{xr}}.json", self.delete_result),
            ("GET", f"{_PAYLOADS}.json", self.list_payloads),
            ("GET", f"{_PAYLOADS}/{{xh}}.json", self.fetch_payload),
            ("DELETE", f"{_PAYLOADS}/{{xh}}.json", self.delete_payload),
            ("GET", f"{_PAYLOADS}/{{xh}}/Data.json", self.fetch_data),
        ]

    # -- the Add-ons of a phone number

    def list_assigned(self, call: Call) -> Response:
        assigned = [
            self._assigned(call, installation, each["date_created"])
            for each in self._store.core_resources(self._parent(call, _NUMBER))
            if (installation := self._installation(call, each["sid"])) is not None
        ]
        return _page(call, "assigned_add_ons", assigned)

    def assign(self, call: Call) -> Response:
        parent = self._parent(call, _NUMBER)
        sid = required(call.form(), "InstalledAddOnSid")
        installation = self._installation(call, sid)
        if installation is None:
            raise ErrorResponse("unknown_add_on", sid=sid)
        now = _now()
        self._store.add_core_resource(parent, {"sid": sid, "date_created": now})
        return 201, self._assigned(call, installation, now)

    def fetch_assigned(self, call: Call) -> Response:
        _, document = self.list_assigned(attrs.evolve(call, query={"PageSize": "1000"}))
        assert document is not None
        return 200, call.select(document["assigned_add_ons"], call.segments["xe"])

    def unassign(self, call: Call) -> Response:
        self.fetch_assigned(call)
        parent = self._parent(call, _NUMBER)
        self._store.delete_core_resource(parent, call.segments["xe"])
        return 204, None

    def _installation(self, call: Call, sid: str) -> Installation | None:
        return self._store.installation(sid, call.segments["ac"])

    def _assigned(self, call: Call, installation: Installation, date: str) -> Document:
        path = f"{_filled(_NUMBER, call)}/{installation.sid}"
        return {
            "sid": installation.sid,
            "account_sid": installation.account_sid,
            "resource_sid": call.segments["pn"],
            "friendly_name": installation.friendly_name,
            "description": installation.description,
            "configuration": msgspec.Raw(installation.configuration.encode()),
            "unique_name": installation.unique_name,
            "date_created": date,
            "date_updated": date,
            "uri": f"{path}.json",
            "subresource_uris": {"extensions": f"{path}/Extensions.json"},
        }

    # -- the results for a recording

    def add_result(
        self, installation: Installation, recording_sid: str, status: str, data: Any
    ) -> ResultPaths:
        """Store a result, with a payload if it is completed."""
        if not isinstance(recording_sid, str) or not _is_sid("RE", recording_sid):
            raise ValueError(f"recording_sid: must be RE and 32 hex digits, got {recording_sid!r}")
        recording = f"{ROOT}/Accounts/{installation.account_sid}/Recordings/{recording_sid}"
        now, sid = _now(), new_sid("XR")
        common = {
            "account_sid": installation.account_sid,
            "add_on_sid": installation.available_add_on_sid,
            "add_on_configuration_sid": installation.sid,
            "date_created": now,
            "date_updated": now,
            "reference_sid": recording_sid,
        }
        path = f"{recording}/AddOnResults/{sid}"
        payloads = f"{path}/Payloads"
        paths = []
        with self._store.transaction():
            self._store.add_core_resource(
                f"{recording}/AddOnResults",
                {
                    "sid": sid,
                    "status": status,
                    **common,
                    "date_completed": now if status in ("completed", "failed") else None,
                    "subresource_uris": {"payloads": f"{payloads}.json"},
                },
            )
            if status == "completed":
                payload = new_sid("XH")
                paths.append(f"{payloads}/{payload}")
                self._store.add_core_resource(
                    payloads,
                    {
                        "sid": payload,
                        "add_on_result_sid": sid,
                        **common,
                        "label": "results",
                        "content_type": "application/json",
                        "subresource_uris": {"data": f"{payloads}/{payload}/Data.json"},
                    },
                )
                self._store.add_core_resource(
                    _DATA,
                    {"sid": payload, "signature": secrets.token_urlsafe(24), "data": data},
                )
        links = {"add_on_result": path, "payloads": payloads, "recording": recording}
        return ResultPaths(sid, tuple(paths), links)

    def list_results(self, call: Call) -> Response:
        return _page(call, "add_on_results", self._resources(call, _RESULTS))

    def fetch_result(self, call: Call) -> Response:
        return 200, call.select(self._resources(call, _RESULTS), call.segments["xr"])

    def delete_result(self, call: Call) -> Response:
        self.fetch_result(call)
        self._store.delete_core_resource(self._parent(call, _RESULTS), call.segments["xr"])
        return 204, None

    def list_payloads(self, call: Call) -> Response:
        self.fetch_result(call)
        return _page(call, "payloads", self._resources(call, _PAYLOADS))

    def fetch_payload(self, call: Call) -> Response:
        return 200, call.select(self._resources(call, _PAYLOADS), call.segments["xh"])

    def delete_payload(self, call: Call) -> Response:
        self.fetch_payload(call)
        self._store.delete_core_resource(self._parent(call, _PAYLOADS), call.segments["xh"])
        return 204, None

    def fetch_data(self, call: Call) -> Response:
        self.fetch_payload(call)
        found = call.select(self._store.core_resources(_DATA), call.segments["xh"])
        url = f"{call.base_url}{_DATA}/{found['sid']}?Signature={found['signature']}"
        return 307, {"redirect_to": url}

    def signed_data(self, call: Call) -> Response:
        """Return the data at a signed URL, which needs no credentials."""
        signature = call.query.get("Signature", "").encode(errors="replace")
        for found in self._store.core_resources(_DATA):
            if found["sid"] == call.segments["xh"] and secrets.compare_digest(
                found["signature"].encode(), signature
            ):
                # Any JSON value, null as well.
                return 200, msgspec.Raw(msgspec.json.encode(found["data"]))  # type: ignore[return-value]
        raise call.not_found()

    def _resources(self, call: Call, path: str) -> list[Document]:
        return self._store.core_resources(self._parent(call, path))

    def _parent(self, call: Call, path: str) -> str:
        """Return the path of a list. Raises the 404 if the account is not visible."""
        self._accounts.visible(call)
        for prefix, name in (("PN", "pn"), ("RE", "re")):
            if name in call.segments and not _is_sid(prefix, call.segments[name]):
                raise call.not_found()
        return _filled(path, call)


def _page(call: Call, name: str, documents: list[Document]) -> Response:
    page = paginate(call.query, slices_of(documents))
    return 200, page_document(call, name, page)


def _filled(path: str, call: Call) -> str:
    return path.format_map(call.segments)


def _is_sid(prefix: str, sid: str) -> bool:
    match = _SID.fullmatch(sid)
    return match is not None and match[1] == prefix


def _now() -> str:
    return rfc_2822(datetime.now(UTC).isoformat(timespec="seconds"))

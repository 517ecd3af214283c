"""The JSON bodies of the control API. Its OpenAPI description is made from these classes."""

from datetime import datetime
from typing import Any

import attrs

from .accounts import STATUSES
from .add_ons import AddOn
from .faults import Fault
from .records import UsageItem
from .request_log import LogEntry

# -- requests


@attrs.frozen(kw_only=True)
class Install:
    """Installs an Add-on without a request of the account.

    Attributes:
        account_sid: The account, `AC...`.
        available_add_on_sid: The Add-on, `XB...`.
        configuration: The configuration, an empty one by default.
        unique_name: A name that is unique on the account, for a single installation.
        times: The number of installations, at most 10000.
    """

    account_sid: str
    available_add_on_sid: str
    configuration: dict[str, Any] = attrs.field(factory=dict, hash=False)
    unique_name: str | None = None
    times: int = 1


@attrs.frozen(kw_only=True)
class Enable:
    """Enables or disables an extension of an installed Add-on.

    Attributes:
        installed_add_on_sid: The installation, `XE...`.
        extension: The unique name of the extension, such as "voice-incoming", or its SID.
        enabled: Whether to enable it.
    """

    installed_add_on_sid: str
    extension: str
    enabled: bool = True


@attrs.frozen(kw_only=True)
class AddSubaccounts:
    """Creates subaccounts.

    Attributes:
        owner_account_sid: The parent account, `AC...`.
        count: The number of subaccounts, at most 10000.
        friendly_name: The name of each subaccount. {number} is replaced by 1, 2, 3 ...
        status: "active", "suspended" or "closed".
    """

    owner_account_sid: str
    count: int = 1
    friendly_name: str = "Subaccount {number}"
    status: str = STATUSES[0]


@attrs.frozen(kw_only=True)
class SendWebhook:
    """Sends a signed webhook: of a call or a message, or with the result of a recording Add-on.

    Attributes:
        url: The URL of your service. Not for a result: the configuration has it.
        account_sid: The account, `AC...`. Required with `url`.
        installed_add_on_sid: The installation, `XE...`, whose result is sent.
        add_ons: The results of Add-ons by unique name, for the field `AddOns`.
        fields: Other form fields, each with a value or several.
        json: A JSON document to send instead of a form.
        method: "POST", the default, or "GET".
        result: What the recording Add-on found: any JSON value.
        status: "completed", the default, "failed", or another status.
        message: Why it failed.
        code: Twilio's error code, 61xxx, if it failed.
        recording_sid: The recording, `RE...`. By default, a new one.
        auth_token: The key to sign with. Defaults to the auth token of the account.
        shared_key: A key, as the header names it, and its secret.
        public_url: The scheme and host that Twilio sees, if a proxy stands in front.
    """

    url: str | None = None
    account_sid: str | None = None
    installed_add_on_sid: str | None = None
    add_ons: dict[str, dict[str, Any]] | None = attrs.field(default=None, hash=False)
    fields: dict[str, str | list[str]] | None = attrs.field(default=None, hash=False)
    json: Any = attrs.field(default=None, hash=False)
    method: str | None = None
    result: Any = attrs.field(default=None, hash=False)
    status: str | None = None
    message: str | None = None
    code: int | None = None
    recording_sid: str | None = None
    auth_token: str | None = None
    shared_key: list[str] | None = attrs.field(default=None, hash=False)
    public_url: str | None = None


# -- responses


@attrs.frozen(kw_only=True)
class WebhookResult:
    """What your service responded to a webhook.

    Attributes:
        status: The HTTP status.
        headers: The headers, with lower-case names.
        body: The body as text.
    """

    status: int
    headers: dict[str, str] = attrs.field(hash=False)
    body: str


@attrs.frozen(kw_only=True)
class Problem:
    """Why a request was rejected.

    Attributes:
        message: What is wrong, and what was expected.
    """

    message: str


@attrs.frozen(kw_only=True)
class Health:
    """What this emulator is.

    Attributes:
        status: Always "ok".
        version: The version of the package.
        emulator: Made up at each start: another value means that the emulator was restarted.
        url: The base URL for clients, as the client of this request sees it.
        started: When the emulator was started.
        accepts_any_credentials: Whether any well-formed SID is accepted with any secret.
        last_number: The number of the latest log entry.
    """

    status: str = "ok"
    version: str
    emulator: str
    url: str
    started: datetime
    accepts_any_credentials: bool
    last_number: int


@attrs.frozen(kw_only=True)
class Installed:
    """The new installations.

    Attributes:
        sids: Their SIDs, `XE...`.
    """

    sids: tuple[str, ...]


@attrs.frozen(kw_only=True)
class AccountRecord:
    """A parent account or a subaccount.

    Attributes:
        sid: The account, `AC...`.
        owner_account_sid: Its parent, or the account itself.
        friendly_name: Its display name.
        status: "active", "suspended" or "closed".
        auth_token: The auth token that the emulator made up for a subaccount. null for others.
        installations: The number of its installed Add-ons.
        usage_items: The number of usage items that it reported.
        listings: The number of its listings.
    """

    sid: str
    owner_account_sid: str
    friendly_name: str
    status: str
    auth_token: str | None = attrs.field(default=None, repr=False)
    installations: int = 0
    usage_items: int = 0
    listings: int = 0


@attrs.frozen(kw_only=True)
class AccountPage:
    """Accounts that were created or listed, oldest first, then all other owners of something.

    Attributes:
        accounts: The accounts.
        total: The number of all accounts.
    """

    accounts: tuple[AccountRecord, ...]
    total: int


@attrs.frozen(kw_only=True)
class CataloguePage:
    """The Add-ons on offer."""

    add_ons: tuple[AddOn, ...]


@attrs.frozen(kw_only=True)
class FaultPage:
    """All faults with their hits, in the order in which they are tried."""

    faults: tuple[Fault, ...]


@attrs.frozen(kw_only=True)
class UsagePage:
    """All usage accepted for billing, oldest first."""

    usage: tuple[UsageItem, ...]


@attrs.frozen(kw_only=True)
class LogRecord:
    """One request. Credentials are masked.

    Attributes:
        number: Its number. Numbers count from 1 and continue when the log is cleared.
        time: When the request arrived.
        duration: The time until the response was ready, in seconds.
        method: The HTTP method.
        path: The path.
        query: The raw query string.
        headers: The names and values of the request's headers. null in a summary.
        body: The body as text, its first 256 KiB. null in a summary.
        account_sid: The authenticated account. null if authentication failed.
        status: The status of the response. null if a fault dropped the connection.
        response_body: The body of the response, as `body`.
        request_id: The `Twilio-Request-Id` of the response.
        fault: The fault that was injected, if any.
        truncated: Whether a body is incomplete: too long, or dropped because the log is full.
    """

    number: int
    time: datetime
    duration: float
    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...] | None
    body: str | None
    account_sid: str | None
    status: int | None
    response_body: str | None
    request_id: str
    fault: Fault | None
    truncated: bool

    @classmethod
    def of(cls, number: int, entry: LogEntry, *, summary: bool = False) -> "LogRecord":
        """Return the record of a log entry. A summary has no headers and bodies."""
        return cls(
            number=number,
            time=entry.time,
            duration=round(entry.duration, 6),
            method=entry.method,
            path=_text(entry.path),
            query=_text(entry.query),
            headers=None if summary else tuple((_text(a), _text(b)) for a, b in entry.headers),
            body=None if summary else entry.body.decode(errors="replace"),
            account_sid=entry.account_sid,
            status=entry.status,
            response_body=None if summary else entry.response_body.decode(errors="replace"),
            request_id=entry.request_id,
            fault=entry.fault,
            truncated=entry.truncated,
        )


@attrs.frozen(kw_only=True)
class LogPage:
    """Log entries, oldest first.

    Attributes:
        log: The entries.
        last_number: The number of the latest entry of the log. If the last entry here has a lower
            one, there are more.
    """

    log: tuple[LogRecord, ...]
    last_number: int


def _text(value: str) -> str:
    """Replace lone surrogates, which stand for bytes that are not UTF-8."""
    return value.encode(errors="surrogateescape").decode(errors="replace")

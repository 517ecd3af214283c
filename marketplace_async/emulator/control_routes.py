"""The table of the routes of the control API."""

from collections.abc import Sequence
from typing import Final

from .control_description import Number, Route, Sid
from .control_records import (
    AccountPage,
    AddSubaccounts,
    CataloguePage,
    Enable,
    FaultPage,
    Health,
    Install,
    Installed,
    LogPage,
    LogRecord,
    SendWebhook,
    UsagePage,
    WebhookResult,
)
from .faults import Fault
from .state import State

ROOT: Final = "/_emulator"

_MAX_NUMBER: Final = 2**53
_AFTER: Final = Number("after", "Only entries with a higher number.", 0, _MAX_NUMBER, 0)
_LIMIT: Final = Number("limit", "Maximum number of entries.", 1, 1000, 1000)
_SUMMARIES: Final = Number("summaries", "1 omits headers and bodies.", 0, 1, 0)
_NUMBER: Final = Number("number", "The number of the entry.", 1, _MAX_NUMBER)
_ACCOUNT: Final = Sid("account_sid", "Only what this account has.", "AC")
_EACH: Final = Number("limit", "Maximum number of each kind, the oldest.", 1, 10**6, 10**6)
_ACCOUNTS: Final = Number("limit", "Maximum number of accounts.", 1, 10**6, 10**6)

ROUTES: Final[Sequence[Route]] = (
    Route(
        method="GET",
        path="/health",
        summary="Tell whether the emulator runs, and what it is.",
        handle="health",
        returns=Health,
    ),
    Route(
        method="POST",
        path="/reset",
        summary="Return to the state of a new emulator: no records, faults and log entries.",
        handle="reset",
        status=204,
    ),
    Route(
        method="GET",
        path="/state",
        summary="Return everything that the emulator holds.",
        handle="state",
        returns=State,
        parameters=(_ACCOUNT, _EACH),
    ),
    Route(
        method="GET",
        path="/accounts",
        summary="Return the accounts, with the auth tokens of subaccounts.",
        handle="list_accounts",
        returns=AccountPage,
        parameters=(_ACCOUNTS,),
    ),
    Route(
        method="POST",
        path="/accounts",
        summary="Create subaccounts.",
        handle="add_subaccounts",
        accepts=AddSubaccounts,
        returns=AccountPage,
        status=201,
    ),
    Route(
        method="POST",
        path="/install",
        summary="Install an Add-on.",
        handle="install",
        accepts=Install,
        returns=Installed,
        status=201,
    ),
    Route(
        method="POST",
        path="/enable",
        summary="Enable or disable an extension of an installed Add-on.",
        handle="enable",
        accepts=Enable,
        status=204,
    ),
    Route(
        method="POST",
        path="/webhook",
        summary="Send a signed webhook to your service, and return its response.",
        handle="send_webhook",
        accepts=SendWebhook,
        returns=WebhookResult,
    ),
    Route(
        method="GET",
        path="/catalogue",
        summary="Return the Add-ons on offer.",
        handle="list_catalogue",
        returns=CataloguePage,
    ),
    Route(
        method="GET",
        path="/faults",
        summary="Return all faults with their hits.",
        handle="list_faults",
        returns=FaultPage,
    ),
    Route(
        method="POST",
        path="/faults",
        summary="Add a fault.",
        handle="add_fault",
        accepts=Fault,
        returns=Fault,
        status=201,
    ),
    Route(
        method="DELETE",
        path="/faults",
        summary="Remove all faults.",
        handle="clear_faults",
        status=204,
    ),
    Route(
        method="GET",
        path="/usage",
        summary="Return all usage accepted for billing.",
        handle="list_usage",
        returns=UsagePage,
    ),
    Route(
        method="GET",
        path="/log",
        summary="Return log entries, oldest first. With `Accept: text/event-stream`, follow it.",
        handle="list_log",
        returns=LogPage,
        parameters=(_AFTER, _LIMIT, _SUMMARIES),
        streams=True,
    ),
    Route(
        method="GET",
        path="/log/{number}",
        summary="Return one log entry.",
        handle="fetch_log_entry",
        returns=LogRecord,
        parameters=(_NUMBER,),
    ),
    Route(method="DELETE", path="/log", summary="Clear the log.", handle="clear_log", status=204),
)

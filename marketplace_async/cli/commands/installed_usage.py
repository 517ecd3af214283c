"""`marketplace-async installed usage`: billing for partners."""

import re
from decimal import Decimal

from cyclopts import App

import marketplace_async as sdk

from ..connection import Connection
from ..output import Output
from ..status import CommandError, Status, usage_error, warn_if_interrupted

app: App = App(
    name="usage",
    help_epilogue="""\
Example:
  marketplace-async installed usage create XE... BI...=12.355""",
)


@app.command(
    usage="Usage: marketplace-async installed usage create [OPTIONS] INSTALLED_ADD_ON_SID ITEMS..."
)
async def create(
    installed_add_on_sid: str,
    /,
    *items: str,
    connection: Connection = Connection(),
    output: Output = Output(),
) -> None:
    """Report usage. The account is billed for it.

    Parameters
    ----------
    installed_add_on_sid
        The SID of the installed Add-on, XE...
    items
        Billing items as BI...=QUANTITY, such as BI...=12.355. All digits are sent.
    """
    billable_items = [_billable_item(item) for item in items]
    if not billable_items:
        raise usage_error("expected at least one billing item, as BI...=QUANTITY")
    async with connection.client() as client:
        with warn_if_interrupted():
            report = await client.installed_add_ons.usage(installed_add_on_sid).create(
                billable_items
            )
        await output.record(report)
    results = report.billable_items or ()
    rejected = [item.sid or "?" for item in results if item.submitted is False]
    total = len(billable_items)
    if rejected:
        raise CommandError(
            f"{len(rejected)} of {total} items were not accepted for billing: "
            + ", ".join(rejected),
            status=Status.FAILED if len(rejected) == total else Status.PARTLY_FAILED,
        )
    unknown = total - sum(item.submitted is True for item in results)
    if unknown:
        raise CommandError(
            f"the report was accepted, but the service did not say whether {unknown} of {total} "
            "items were accepted for billing",
            hint="do not send the report again before you have checked the account",
            status=Status.UNKNOWN,
        )


def _billable_item(text: str) -> "sdk.BillableItem":
    sid, _, quantity = text.partition("=")
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", quantity, re.ASCII):
        raise usage_error(f"expected BI...=QUANTITY, such as BI...=12.355, got {text!r}")
    return sdk.BillableItem(sid, Decimal(quantity))

"""`marketplace-async installed`: what is installed on the account."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Annotated, Any, TypeAlias

from cyclopts import App, Parameter

from ... import (
    BillableItem,
    ConfigurationError,
    InstalledAddOn,
    InstalledAddOnExtension,
    MarketplaceClient,
    NotFoundError,
    configuration_errors,
)
from ..._core.arguments import check_sid
from ..connection import Connection
from ..flags import Flag, Yes
from ..json_objects import JsonObjectOrNone
from ..output import Output, fields_of
from ..paging import Paging
from ..prompts import confirm, somebody_is_there
from ..several import do_each
from ..status import CommandError, Status, may_have_happened, note, usage_error

app = App(
    name="installed",
    help_epilogue="""\
Examples:
  marketplace-async installed list --limit 10
  marketplace-async installed list --output csv > installed.csv
  marketplace-async installed create XB... --unique-name transcription \\
      --configuration @transcription.json --accept-terms-of-service""",
)
extensions = App(
    name="extensions",
    help="Where an installed add-on works: list, enable and disable.",
    help_epilogue="""\
Examples:
  marketplace-async installed extensions list XE...
  marketplace-async installed extensions enable XE... XF... XF...""",
)
usage = App(
    name="usage",
    help="For partners: report what the use of an installed add-on costs.",
    help_epilogue="""\
Example:
  marketplace-async installed usage create XE... BI...=12.355""",
)
app.command(extensions)
app.command(usage)

CheckSchema: TypeAlias = Annotated[
    bool, Parameter(negative="--no-check-schema", show_default=False)
]

_COLUMNS = ("sid", "unique_name", "friendly_name", "date_created")
_EXTENSION_COLUMNS = ("sid", "enabled", "unique_name", "friendly_name", "product_name")


_CREATE_EXAMPLES = """\
Examples:
  marketplace-async installed create XB... --accept-terms-of-service
  marketplace-async installed create XB... --accept-terms-of-service \\
      --unique-name transcription --configuration '{"callback_method": "POST"}'
  jq .transcription all.json | marketplace-async installed create XB... \\
      --accept-terms-of-service --configuration -"""


@app.command(help_epilogue=_CREATE_EXAMPLES)
async def create(
    available_add_on_sid: str,
    *,
    accept_terms_of_service: Flag = False,
    configuration: JsonObjectOrNone = None,
    unique_name: str | None = None,
    check_schema: CheckSchema = True,
    connection: Connection = Connection(),
    output: Output = Output(),
) -> None:
    """Install an add-on. Its extensions are disabled until they are enabled.

    Give it a unique name: then it is never installed twice, even if an answer is lost on the way.

    Parameters
    ----------
    available_add_on_sid
        What to install, XB...
    accept_terms_of_service
        Accept the terms of service of the add-on; needed to install it.
    configuration
        Its configuration: a JSON object, @FILE with one, or - for standard input.
    unique_name
        Its name for programs, unique on the account; the add-on's own unless given.
    check_schema
        Check the configuration against the schema of the add-on before it is sent: the default.
    """
    _check_terms(accept_terms_of_service)
    async with connection.client() as client:
        with may_have_happened():
            record = await client.installed_add_ons.create(
                available_add_on_sid=available_add_on_sid,
                accept_terms_of_service=True,
                configuration=configuration,
                unique_name=unique_name,
                check_schema=check_schema,
            )
        await output.record(record)


@app.command
async def fetch(
    sid: str, /, *, connection: Connection = Connection(), output: Output = Output()
) -> None:
    """Show one installed add-on.

    Parameters
    ----------
    sid
        Its SID, XE...
    """
    async with connection.client() as client:
        await output.record(await client.installed_add_ons.fetch(sid))


@app.command(name="list")
async def list_(
    *,
    paging: Paging = Paging(),
    connection: Connection = Connection(),
    output: Output = Output(),
) -> None:
    """List what is installed on the account."""
    async with connection.client() as client:
        installed = client.installed_add_ons.list(**paging.options)
        await output.pages(installed, fields_of(InstalledAddOn), _COLUMNS)


@app.command(
    help_epilogue="""\
Examples:
  marketplace-async installed update XE... --unique-name transcription-eu
  marketplace-async installed update XE... --configuration @transcription.json"""
)
async def update(
    sid: str,
    /,
    *,
    configuration: JsonObjectOrNone = None,
    unique_name: str | None = None,
    check_schema: CheckSchema = True,
    connection: Connection = Connection(),
    output: Output = Output(),
) -> None:
    """Change the configuration of an installed add-on, its unique name, or both.

    Parameters
    ----------
    sid
        Its SID, XE...
    configuration
        The whole new configuration: a JSON object, @FILE with one, or - for standard input.
    unique_name
        The new name for programs, unique on the account.
    check_schema
        Check the configuration against the schema of the add-on before it is sent: the default.
    """
    if configuration is None and unique_name is None:
        raise usage_error("nothing to change: give --configuration, --unique-name, or both")
    async with connection.client() as client:
        if configuration is not None and check_schema:
            await _check_configuration(client, sid, configuration)
        with may_have_happened():
            record = await client.installed_add_ons.update(
                sid, configuration=configuration, unique_name=unique_name
            )
        await output.record(record)


@app.command(
    help_epilogue="""\
Examples:
  marketplace-async installed delete XE...
  marketplace-async installed list -o jsonl | jq -r .sid | \\
      xargs marketplace-async installed delete --yes"""
)
async def delete(
    *sids: str,
    yes: Yes = False,
    connection: Connection = Connection(),
    output: Output = Output(),
) -> Status:
    """Remove installed add-ons from the account. It asks first.

    Parameters
    ----------
    sids
        Their SIDs, XE...
    yes
        Do not ask; needed where nobody is there to be asked.
    """
    if not sids:
        raise usage_error("expected the SID of at least one installed add-on, XE...")
    for sid in sids:
        check_sid("XE", sid, "sid")  # all, before the first is deleted
    async with connection.client() as client:
        await confirm(await _what_to_delete(client, sids, yes=yes), yes=yes)

        async def delete_one(sid: str) -> Mapping[str, Any]:
            await client.installed_add_ons.delete(sid)
            return {"sid": sid, "deleted": True}

        names = ("sid", "deleted")
        return await do_each(
            delete_one, sids, connection=connection, output=output, fields=names, columns=names
        )


async def _what_to_delete(client: MarketplaceClient, sids: Sequence[str], *, yes: bool) -> str:
    if len(sids) > 1:
        return f"Delete {len(sids)} installed add-ons"
    (sid,) = sids
    if yes or not somebody_is_there():
        return f"Delete {sid}"
    one = await client.installed_add_ons.fetch(sid)
    return f"Delete {one.unique_name} ({one.friendly_name}, {one.sid})"


@app.command(
    help_epilogue="""\
Example:
  marketplace-async installed ensure XB... --unique-name transcription \\
      --configuration @transcription.json --accept-terms-of-service"""
)
async def ensure(
    available_add_on_sid: str,
    *,
    unique_name: str,
    accept_terms_of_service: Flag = False,
    configuration: JsonObjectOrNone = None,
    check_schema: CheckSchema = True,
    connection: Connection = Connection(),
    output: Output = Output(),
) -> None:
    """Make an add-on installed under a unique name with a configuration, whatever there is now.

    It installs where nothing has the name, updates where the configuration differs, and leaves
    alone where it does not; "action" in the output says which. Doing it again changes nothing.

    Parameters
    ----------
    available_add_on_sid
        What to install, XB...
    unique_name
        Its name for programs, unique on the account.
    accept_terms_of_service
        Accept the terms of service of the add-on; needed to install it.
    configuration
        Its configuration: a JSON object, @FILE with one, or - for standard input. Without it, that
        of an existing installation is left alone.
    check_schema
        Check the configuration against the schema of the add-on before it is sent: the default.
    """
    _check_terms(accept_terms_of_service)
    async with connection.client() as client:
        with may_have_happened():
            ensured = await client.installed_add_ons.ensure(
                unique_name=unique_name,
                available_add_on_sid=available_add_on_sid,
                accept_terms_of_service=True,
                configuration=configuration,
                check_schema=check_schema,
            )
        record = {name: getattr(ensured.record, name) for name in fields_of(InstalledAddOn)}
        await output.record({"action": ensured.action, **record})


def _check_terms(accepted: bool) -> None:
    if not accepted:
        raise usage_error(
            "an add-on is installed only if its terms of service are accepted",
            "Read them on its page, and add --accept-terms-of-service.",
        )


async def _check_configuration(
    client: MarketplaceClient, sid: str, configuration: Mapping[str, Any]
) -> None:
    available_add_on_sid = (await client.installed_add_ons.fetch(sid)).available_add_on_sid
    add_on = None
    if available_add_on_sid is not None:
        with suppress(NotFoundError):
            add_on = await client.available_add_ons.fetch(available_add_on_sid)
    if add_on is None:
        note("the add-on is not in the catalogue any more: its schema was not checked")
    elif issues := configuration_errors(add_on, configuration):
        raise ConfigurationError(add_on.sid, issues)


# -- extensions


@extensions.command(name="list")
async def list_extensions(
    installed_add_on_sid: str,
    /,
    *,
    paging: Paging = Paging(),
    connection: Connection = Connection(),
    output: Output = Output(),
) -> None:
    """List the extensions of an installed add-on, with what is enabled.

    Parameters
    ----------
    installed_add_on_sid
        The SID of the installed add-on, XE...
    """
    async with connection.client() as client:
        found = client.installed_add_ons.extensions(installed_add_on_sid).list(**paging.options)
        await output.pages(found, fields_of(InstalledAddOnExtension), _EXTENSION_COLUMNS)


@extensions.command(name="fetch")
async def fetch_extension(
    installed_add_on_sid: str,
    sid: str,
    /,
    *,
    connection: Connection = Connection(),
    output: Output = Output(),
) -> None:
    """Show one extension of an installed add-on.

    Parameters
    ----------
    installed_add_on_sid
        The SID of the installed add-on, XE...
    sid
        The SID of the extension, XF...
    """
    async with connection.client() as client:
        await output.record(
            await client.installed_add_ons.extensions(installed_add_on_sid).fetch(sid)
        )


@extensions.command
async def enable(
    installed_add_on_sid: str,
    /,
    *sids: str,
    connection: Connection = Connection(),
    output: Output = Output(),
) -> Status:
    """Enable extensions: the add-on is called there from now on.

    Parameters
    ----------
    installed_add_on_sid
        The SID of the installed add-on, XE...
    sids
        The SIDs of the extensions, XF...
    """
    return await _set_enabled(True, installed_add_on_sid, sids, connection, output)


@extensions.command
async def disable(
    installed_add_on_sid: str,
    /,
    *sids: str,
    connection: Connection = Connection(),
    output: Output = Output(),
) -> Status:
    """Disable extensions: the add-on is called there no more.

    Parameters
    ----------
    installed_add_on_sid
        The SID of the installed add-on, XE...
    sids
        The SIDs of the extensions, XF...
    """
    return await _set_enabled(False, installed_add_on_sid, sids, connection, output)


async def _set_enabled(
    enabled: bool,
    installed_add_on_sid: str,
    sids: tuple[str, ...],
    connection: Connection,
    output: Output,
) -> Status:
    if not sids:
        raise usage_error(
            "expected the SID of at least one extension, XF...",
            f"`marketplace-async installed extensions list {installed_add_on_sid}` shows them.",
        )
    for sid in sids:
        check_sid("XF", sid, "sid")  # all, before the first is changed
    async with connection.client() as client:
        collection = client.installed_add_ons.extensions(installed_add_on_sid)

        async def update_one(sid: str) -> InstalledAddOnExtension:
            return await collection.update(sid, enabled=enabled)

        return await do_each(
            update_one,
            sids,
            connection=connection,
            output=output,
            fields=fields_of(InstalledAddOnExtension),
            columns=_EXTENSION_COLUMNS,
        )


# -- usage


@usage.command(name="create")
async def create_usage(
    installed_add_on_sid: str,
    /,
    *items: str,
    connection: Connection = Connection(),
    output: Output = Output(),
) -> None:
    """Report usage. This bills money.

    Parameters
    ----------
    installed_add_on_sid
        The SID of the installed add-on, XE...
    items
        What to bill, each as BI...=QUANTITY, such as BI...=12.355. Every digit counts.
    """
    billable_items = [_billable_item(item) for item in items]
    if not billable_items:
        raise usage_error("expected at least one item to bill, as BI...=QUANTITY")
    async with connection.client() as client:
        with may_have_happened():
            report = await client.installed_add_ons.usage(installed_add_on_sid).create(
                billable_items
            )
        await output.record(report)
    refused = [item.sid for item in report.billable_items if not item.submitted]
    if refused:
        everything = len(refused) == len(report.billable_items)
        raise CommandError(
            f"{len(refused)} of {len(report.billable_items)} items were not accepted for billing: "
            + ", ".join(refused),
            status=Status.FAILED if everything else Status.PARTLY_FAILED,
        )


def _billable_item(text: str) -> BillableItem:
    sid, _, quantity = text.partition("=")
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", quantity, re.ASCII):
        raise usage_error(f"expected BI...=QUANTITY, such as BI...=12.355, got {text!r}")
    return BillableItem(sid, Decimal(quantity))

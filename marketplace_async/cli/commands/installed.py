"""`marketplace-async installed`: the Add-ons that are installed on the account."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any, TypeAlias

import attrs
from cyclopts import App, Parameter

import marketplace_async as sdk

from ..connection import Connection
from ..json_objects import JsonObjectOrNone
from ..options import Yes
from ..output import Output
from ..paging import Paging
from ..prompts import confirm, is_interactive
from ..status import Status, usage_error, warn, warn_if_interrupted

app: App = App(
    name="installed",
    help_epilogue="""\
Examples:
  marketplace-async installed list --limit 10
  marketplace-async installed list --output csv > installed.csv
  marketplace-async installed create XB... --unique-name transcription \\
      --configuration @transcription.json --accept-terms-of-service""",
)
app.command(
    f"{__package__}.installed_extensions:app",
    name="extensions",
    help="List, enable and disable the extensions of an installed Add-on.",
)
app.command(
    f"{__package__}.installed_usage:app",
    name="usage",
    help="For partners: bill the usage of an installed Add-on.",
)

AcceptTerms: TypeAlias = Annotated[
    bool,
    Parameter(
        negative=(),
        show_default=False,
        help="Accept the Add-on's terms of service. Required.",
    ),
]
CheckSchema: TypeAlias = Annotated[
    bool,
    Parameter(
        negative="--no-check-schema",
        show_default=False,
        help="Check the configuration against the Add-on's schema before sending it (default).",
    ),
]

_COLUMNS = ("sid", "unique_name", "friendly_name", "date_created")

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
    accept_terms_of_service: AcceptTerms = False,
    configuration: JsonObjectOrNone = None,
    unique_name: str | None = None,
    check_schema: CheckSchema = True,
    connection: Connection = Connection(),
    output: Output = Output(),
) -> None:
    """Install an Add-on. Its extensions are initially disabled.

    With a unique name, a retry never installs it twice, even if a response was lost.

    Parameters
    ----------
    available_add_on_sid
        The SID of the available Add-on, XB...
    configuration
        The configuration: a JSON object, @FILE, or - for standard input.
    unique_name
        A name that is unique within the account. Default: the Add-on's own unique name.
    """
    _check_terms(accept_terms_of_service)
    async with connection.client() as client:
        with warn_if_interrupted():
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
    """Show one installed Add-on.

    Parameters
    ----------
    sid
        The SID of the installed Add-on, XE...
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
    """List the Add-ons that are installed on the account."""
    async with connection.client() as client:
        installed = client.installed_add_ons.list(**paging.options)
        await output.pages(installed, sdk.InstalledAddOn, _COLUMNS)


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
    """Update the configuration or the unique name of an installed Add-on.

    Parameters
    ----------
    sid
        The SID of the installed Add-on, XE...
    configuration
        The new configuration: a JSON object, @FILE, or - for standard input.
        It replaces the current configuration as a whole.
    unique_name
        The new unique name.
    """
    if configuration is None and unique_name is None:
        raise usage_error("nothing to change: pass --configuration, --unique-name, or both")
    async with connection.client() as client:
        if configuration is not None and check_schema:
            await _check_configuration(client, sid, configuration)
        with warn_if_interrupted():
            record = await client.installed_add_ons.update(
                sid, configuration=configuration, unique_name=unique_name
            )
        await output.record(record)


@app.command(
    usage="Usage: marketplace-async installed delete [OPTIONS] SIDS...",
    help_epilogue="""\
Examples:
  marketplace-async installed delete XE...
  marketplace-async installed list -o jsonl | jq -r .sid | \\
      xargs marketplace-async installed delete --yes""",
)
async def delete(
    *sids: str,
    yes: Yes = False,
    connection: Connection = Connection(),
    output: Output = Output(),
) -> Status:
    """Delete installed Add-ons from the account, after confirmation.

    Parameters
    ----------
    sids
        The SIDs of the installed Add-ons, XE...
    """
    from ..batch import check_sids, run_each

    if not sids:
        raise usage_error("expected the SID of at least one installed Add-on, XE...")
    check_sids("XE", sids)
    async with connection.client() as client:
        await confirm(await _deletion(client, sids, yes=yes), yes=yes)

        async def delete_one(sid: str) -> Mapping[str, Any]:
            await client.installed_add_ons.delete(sid)
            return {"sid": sid, "deleted": True}

        fields = ("sid", "deleted")
        return await run_each(
            delete_one, sids, connection=connection, output=output, fields=fields, columns=fields
        )


async def _deletion(client: "sdk.MarketplaceClient", sids: Sequence[str], *, yes: bool) -> str:
    """Describe a deletion for the confirmation prompt."""
    if len(sids) > 1:
        return f"Delete {len(sids)} installed Add-ons"
    (sid,) = sids
    if yes or not is_interactive():
        return f"Delete {sid}"
    installed = await client.installed_add_ons.fetch(sid)
    return f"Delete {installed.unique_name} ({installed.friendly_name}, {sid})"


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
    accept_terms_of_service: AcceptTerms = False,
    configuration: JsonObjectOrNone = None,
    check_schema: CheckSchema = True,
    connection: Connection = Connection(),
    output: Output = Output(),
) -> None:
    """Ensure that an Add-on is installed under a unique name with this configuration.

    If the name is free, the Add-on is installed.
    If the configuration differs, it is updated.
    The output field "action" is "installed", "updated" or "unchanged".

    Parameters
    ----------
    available_add_on_sid
        The SID of the available Add-on, XB...
    unique_name
        A name that is unique within the account.
    configuration
        The configuration: a JSON object, @FILE, or - for standard input.
        By default, an installed Add-on keeps its configuration.
    """
    _check_terms(accept_terms_of_service)
    async with connection.client() as client:
        with warn_if_interrupted():
            ensured = await client.installed_add_ons.ensure(
                unique_name=unique_name,
                available_add_on_sid=available_add_on_sid,
                accept_terms_of_service=True,
                configuration=configuration,
                check_schema=check_schema,
            )
        record = attrs.asdict(ensured.record, recurse=False)
        await output.record({"action": ensured.action, **record})


def _check_terms(accepted: bool) -> None:
    if not accepted:
        raise usage_error(
            "installing an Add-on requires accepting its terms of service",
            "Read the terms on the Add-on's page, then pass --accept-terms-of-service.",
        )


async def _check_configuration(
    client: "sdk.MarketplaceClient", sid: str, configuration: Mapping[str, Any]
) -> None:
    available_add_on_sid = (await client.installed_add_ons.fetch(sid)).available_add_on_sid
    if available_add_on_sid is None:
        warn("the service did not say which Add-on it is; the configuration was not checked")
        return
    add_on = None
    with suppress(sdk.NotFoundError):
        add_on = await client.available_add_ons.fetch(available_add_on_sid)
    if add_on is None:
        warn("the Add-on is no longer in the catalogue; the configuration was not checked")
    elif issues := sdk.configuration_errors(add_on, configuration):
        raise sdk.ConfigurationError(add_on.sid, issues)

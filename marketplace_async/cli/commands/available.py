"""`marketplace-async available`: the catalogue of Add-ons."""

from cyclopts import App

import marketplace_async as sdk

from ..connection import Connection
from ..output import Output
from ..paging import Paging

app: App = App(name="available")
extensions: App = App(name="extensions", help="The extensions that an Add-on offers.")
app.command(extensions)

_COLUMNS = ("sid", "friendly_name", "pricing_type", "description")
_EXTENSION_COLUMNS = ("sid", "unique_name", "friendly_name", "product_name")


@app.command(name="list")
async def list_(
    *,
    paging: Paging = Paging(),
    connection: Connection = Connection(),
    output: Output = Output(),
) -> None:
    """List the Add-ons in the catalogue."""
    async with connection.client() as client:
        add_ons = client.available_add_ons.list(**paging.options)
        await output.pages(add_ons, sdk.AvailableAddOn, _COLUMNS)


@app.command
async def fetch(
    sid: str, /, *, connection: Connection = Connection(), output: Output = Output()
) -> None:
    """Show one Add-on and the schema of its configuration.

    Parameters
    ----------
    sid
        The SID of the Add-on, XB...
    """
    async with connection.client() as client:
        await output.record(await client.available_add_ons.fetch(sid))


@extensions.command(name="list")
async def list_extensions(
    available_add_on_sid: str,
    /,
    *,
    paging: Paging = Paging(),
    connection: Connection = Connection(),
    output: Output = Output(),
) -> None:
    """List the extensions that an Add-on offers.

    Parameters
    ----------
    available_add_on_sid
        The SID of the Add-on, XB...
    """
    async with connection.client() as client:
        extensions = client.available_add_ons.extensions(available_add_on_sid)
        await output.pages(
            extensions.list(**paging.options),
            sdk.AvailableAddOnExtension,
            _EXTENSION_COLUMNS,
        )


@extensions.command(name="fetch")
async def fetch_extension(
    available_add_on_sid: str,
    sid: str,
    /,
    *,
    connection: Connection = Connection(),
    output: Output = Output(),
) -> None:
    """Show one extension of an Add-on.

    Parameters
    ----------
    available_add_on_sid
        The SID of the Add-on, XB...
    sid
        The SID of the extension, XF...
    """
    async with connection.client() as client:
        extensions = client.available_add_ons.extensions(available_add_on_sid)
        await output.record(await extensions.fetch(sid))

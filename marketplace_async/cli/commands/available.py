"""`marketplace-async available`: the catalogue."""

from cyclopts import App

from ... import AvailableAddOn, AvailableAddOnExtension
from ..connection import Connection
from ..output import Output, fields_of
from ..paging import Paging

app = App(name="available")
extensions = App(name="extensions", help="Where an add-on of the catalogue can work.")
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
    """List the add-ons that can be installed."""
    async with connection.client() as client:
        add_ons = client.available_add_ons.list(**paging.options)
        await output.pages(add_ons, fields_of(AvailableAddOn), _COLUMNS)


@app.command
async def fetch(
    sid: str, /, *, connection: Connection = Connection(), output: Output = Output()
) -> None:
    """Show one add-on of the catalogue, with the schema of its configuration.

    Parameters
    ----------
    sid
        Its SID, XB...
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
    """List the extensions that an add-on offers.

    Parameters
    ----------
    available_add_on_sid
        The SID of the add-on, XB...
    """
    async with connection.client() as client:
        found = client.available_add_ons.extensions(available_add_on_sid).list(**paging.options)
        await output.pages(found, fields_of(AvailableAddOnExtension), _EXTENSION_COLUMNS)


@extensions.command(name="fetch")
async def fetch_extension(
    available_add_on_sid: str,
    sid: str,
    /,
    *,
    connection: Connection = Connection(),
    output: Output = Output(),
) -> None:
    """Show one extension of an add-on.

    Parameters
    ----------
    available_add_on_sid
        The SID of the add-on, XB...
    sid
        The SID of the extension, XF...
    """
    async with connection.client() as client:
        await output.record(
            await client.available_add_ons.extensions(available_add_on_sid).fetch(sid)
        )

"""`marketplace-async listings`: the Marketplace listings that the account owns."""

import attrs
from cyclopts import App

import marketplace_async as sdk

from ..connection import Connection
from ..json_objects import JsonObject, JsonObjectOrNone
from ..output import Output
from ..status import usage_error, warn_if_interrupted

app: App = App(
    name="listings",
    help_epilogue="""\
Examples:
  marketplace-async listings list
  marketplace-async listings update XB... --pricing '{"body": "$15 a month"}'""",
)

_COLUMNS = ("sid", "module_info", "pricing")


@app.command
async def create(
    *,
    module_info: JsonObject,
    configuration: JsonObjectOrNone = None,
    connection: Connection = Connection(),
    output: Output = Output(),
) -> None:
    """Create a listing that the account owns.

    Each part is a JSON object, @FILE, or - for standard input.

    Parameters
    ----------
    module_info
        Metadata such as name, tagline and logo.
    configuration
        Buttons and notification URLs.
    """
    async with connection.client() as client:
        with warn_if_interrupted():
            listing = await client.listings.create(
                module_info=module_info, configuration=configuration
            )
        await output.record(listing)


@app.command(name="list")
async def list_(*, connection: Connection = Connection(), output: Output = Output()) -> None:
    """List the listings that the account owns."""
    async with connection.client() as client:
        listings = await client.listings.list_own()

    # Listings are free-form: show the undocumented fields as well.
    known = [field.name for field in attrs.fields(sdk.Listing)]
    present = {key: None for listing in listings for key in listing}
    more = [key for key in present if key not in known]
    columns = [key for key in _COLUMNS if key in present] or list(present) or _COLUMNS
    async with output.listing((*known, *more), columns, if_empty="no results") as show:
        await show(listings)


@app.command
async def fetch(
    sid: str, /, *, connection: Connection = Connection(), output: Output = Output()
) -> None:
    """Show one listing.

    Parameters
    ----------
    sid
        The SID of the listing, XB...
    """
    async with connection.client() as client:
        await output.record(await client.listings.fetch(sid))


@app.command
async def update(
    sid: str,
    /,
    *,
    module_info: JsonObjectOrNone = None,
    description: JsonObjectOrNone = None,
    documentation: JsonObjectOrNone = None,
    policies: JsonObjectOrNone = None,
    support: JsonObjectOrNone = None,
    configuration: JsonObjectOrNone = None,
    pricing: JsonObjectOrNone = None,
    connection: Connection = Connection(),
    output: Output = Output(),
) -> None:
    """Update parts of a listing that the account owns.

    Each part is a JSON object, @FILE, or - for standard input.
    It replaces the current part as a whole. Other parts stay unchanged.

    Parameters
    ----------
    sid
        The SID of the listing, XB...
    module_info
        Metadata such as name, tagline and logo.
    description
        Text, highlights and code samples of the description tab.
    documentation
        Usage instructions.
    policies
        Privacy and legal policies; at most 5 MB of JSON.
    support
        Support contacts.
    configuration
        Buttons and notification URLs.
    pricing
        Pricing, as text.
    """
    parts = {
        "module_info": module_info,
        "description": description,
        "documentation": documentation,
        "policies": policies,
        "support": support,
        "configuration": configuration,
        "pricing": pricing,
    }
    if all(part is None for part in parts.values()):
        options = ", ".join("--" + name.replace("_", "-") for name in parts)
        raise usage_error("nothing to change", f"Pass at least one of {options}.")
    async with connection.client() as client:
        with warn_if_interrupted():
            listing = await client.listings.update(sid, **parts)
        await output.record(listing)

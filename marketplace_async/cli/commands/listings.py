"""`marketplace-async listings`: the account's own pages in the Marketplace."""

from cyclopts import App

from ... import Listing
from ..connection import Connection
from ..json_objects import JsonObject, JsonObjectOrNone
from ..output import Output, fields_of
from ..status import may_have_happened, usage_error

app = App(
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

    Each part is a JSON object, @FILE with one, or - for standard input.

    Parameters
    ----------
    module_info
        Name, tagline, logo and the like.
    configuration
        Buttons and notification URLs.
    """
    async with connection.client() as client:
        with may_have_happened():
            listing = await client.listings.create(
                module_info=module_info, configuration=configuration
            )
        await output.record(listing)


@app.command(name="list")
async def list_(*, connection: Connection = Connection(), output: Output = Output()) -> None:
    """List the listings that the account owns."""
    async with connection.client() as client:
        listings = await client.listings.list_own()

    # They are free-form: what the API does not promise is shown, too.
    known = fields_of(Listing)
    there = {key: None for listing in listings for key in listing}
    more = [key for key in there if key not in known]
    columns = [key for key in _COLUMNS if key in there] or list(there) or _COLUMNS
    async with output.listing((*known, *more), columns, if_none="there are none") as show:
        await show(listings)


@app.command
async def fetch(
    sid: str, /, *, connection: Connection = Connection(), output: Output = Output()
) -> None:
    """Show one listing.

    Parameters
    ----------
    sid
        Its SID, XB...
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
    """Change parts of a listing that the account owns.

    Each part is a JSON object, @FILE with one, or - for standard input. It replaces the whole part;
    what is not given stays as it is.

    Parameters
    ----------
    sid
        Its SID, XB...
    module_info
        Name, tagline, logo and the like.
    description
        The text, highlights and code samples of the description tab.
    documentation
        How to use it.
    policies
        Privacy and legal; at most 5 MB of JSON.
    support
        Where to get help.
    configuration
        Buttons and notification URLs.
    pricing
        What it costs, in words.
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
        raise usage_error("nothing to change", f"Give at least one of {options}.")
    async with connection.client() as client:
        with may_have_happened():
            listing = await client.listings.update(sid, **parts)
        await output.record(listing)

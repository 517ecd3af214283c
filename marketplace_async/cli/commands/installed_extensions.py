"""`marketplace-async installed extensions`: the products where an installed Add-on is invoked."""

from cyclopts import App

import marketplace_async as sdk

from ..connection import Connection
from ..output import Output
from ..paging import Paging
from ..status import Status, usage_error

app: App = App(
    name="extensions",
    help_epilogue="""\
Examples:
  marketplace-async installed extensions list XE...
  marketplace-async installed extensions enable XE... XF... XF...""",
)

_COLUMNS = ("sid", "enabled", "unique_name", "friendly_name", "product_name")


@app.command(name="list")
async def list_(
    installed_add_on_sid: str,
    /,
    *,
    paging: Paging = Paging(),
    connection: Connection = Connection(),
    output: Output = Output(),
) -> None:
    """List the extensions of an installed Add-on, and whether each is enabled.

    Parameters
    ----------
    installed_add_on_sid
        The SID of the installed Add-on, XE...
    """
    async with connection.client() as client:
        extensions = client.installed_add_ons.extensions(installed_add_on_sid)
        await output.pages(extensions.list(**paging.options), sdk.InstalledAddOnExtension, _COLUMNS)


@app.command
async def fetch(
    installed_add_on_sid: str,
    sid: str,
    /,
    *,
    connection: Connection = Connection(),
    output: Output = Output(),
) -> None:
    """Show one extension of an installed Add-on.

    Parameters
    ----------
    installed_add_on_sid
        The SID of the installed Add-on, XE...
    sid
        The SID of the extension, XF...
    """
    async with connection.client() as client:
        extensions = client.installed_add_ons.extensions(installed_add_on_sid)
        await output.record(await extensions.fetch(sid))


@app.command(
    usage="Usage: marketplace-async installed extensions enable [OPTIONS] "
    "INSTALLED_ADD_ON_SID SIDS..."
)
async def enable(
    installed_add_on_sid: str,
    /,
    *sids: str,
    connection: Connection = Connection(),
    output: Output = Output(),
) -> Status:
    """Enable extensions, so that the product invokes the Add-on.

    Parameters
    ----------
    installed_add_on_sid
        The SID of the installed Add-on, XE...
    sids
        The SIDs of the extensions, XF...
    """
    return await _set_enabled(True, installed_add_on_sid, sids, connection, output)


@app.command(
    usage="Usage: marketplace-async installed extensions disable [OPTIONS] "
    "INSTALLED_ADD_ON_SID SIDS..."
)
async def disable(
    installed_add_on_sid: str,
    /,
    *sids: str,
    connection: Connection = Connection(),
    output: Output = Output(),
) -> Status:
    """Disable extensions, so that the product no longer invokes the Add-on.

    Parameters
    ----------
    installed_add_on_sid
        The SID of the installed Add-on, XE...
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
    from ..batch import check_sids, run_each

    if not sids:
        raise usage_error(
            "expected the SID of at least one extension, XF...",
            f"`marketplace-async installed extensions list {installed_add_on_sid}` shows them.",
        )
    check_sids("XF", sids)
    async with connection.client() as client:
        extensions = client.installed_add_ons.extensions(installed_add_on_sid)

        async def update(sid: str) -> "sdk.InstalledAddOnExtension":
            return await extensions.update(sid, enabled=enabled)

        return await run_each(
            update,
            sids,
            connection=connection,
            output=output,
            fields=sdk.InstalledAddOnExtension,
            columns=_COLUMNS,
        )

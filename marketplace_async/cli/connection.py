"""The connection options of a command."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

import attrs
from cyclopts import Parameter

from .access import Access
from .help_format import shared_options
from .options import Flag

if TYPE_CHECKING:
    from .. import MarketplaceClient


def profile_names(_: object) -> list[str]:
    """Return the names of the profiles, for completion."""
    from . import profiles

    return profiles.names()


GROUP = shared_options("Connection", more="marketplace-async help connection", sort_key=8)


@Parameter(name="*", group=GROUP)
@attrs.frozen(kw_only=True)
class Connection:
    """The connection options of a command.

    Parameters
    ----------
    profile
        The profile to use. `marketplace-async profiles list` shows them.
    region
        The Twilio region, such as au1.
    edge
        The Twilio edge location, such as sydney.
    base_url
        Send requests to this URL instead of Twilio, such as an emulator.
    proxy
        The URL of an HTTP proxy. Default: HTTPS_PROXY, unless NO_PROXY lists the host.
        A password is safer in MARKETPLACE_PROXY or in a profile.
    ca_file
        Trust the CAs in this PEM file, and no others. Default: SSL_CERT_FILE.
    allow_http
        Allow a base URL with plain http on another host, or through a proxy.
        Credentials are sent unencrypted.
    timeout
        Timeout of each attempt, in seconds. Default: 10.
    """

    profile: Annotated[str | None, Parameter(completer=profile_names)] = None
    region: str | None = None
    edge: str | None = None
    base_url: str | None = None
    proxy: str | None = attrs.field(default=None, repr=False)
    ca_file: str | None = None
    allow_http: Flag = False
    timeout: float | None = None
    access: Annotated[Access | None, Parameter(parse=False)] = None

    def needs_access(self) -> bool:
        """Return whether the command needs `access`, the result of `resolve`."""
        return True

    @asynccontextmanager
    async def client(self) -> AsyncIterator["MarketplaceClient"]:
        """Open a client with the resolved credentials and options; close it when the block ends."""
        from .. import MarketplaceClient

        access = self.access
        if access is None:
            raise RuntimeError("call resolve() first")
        async with MarketplaceClient(access.credentials, **access.options) as client:
            yield client

"""The client of a job, here and in other processes, which find the credentials by themselves."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from ..errors import CredentialsError
from .connection import Connection
from .status import CommandError

if TYPE_CHECKING:
    from .. import ClientOptions, Credentials, MarketplaceClient


@attrs.frozen
class JobClient:
    """Returns clients of the parent account. Holds the credentials that were resolved here.

    Args:
        credentials: The credentials.
        options: The options of the client.
        connection: The connection options of the command, with the name of the profile.
    """

    _credentials: "Credentials" = attrs.field(repr=False)
    _options: "ClientOptions" = attrs.field(repr=False, hash=False)
    _connection: Connection

    def __call__(self) -> "MarketplaceClient":
        """Return a client."""
        from .. import MarketplaceClient

        return MarketplaceClient(self._credentials, **self._options)

    def elsewhere(self) -> "Callable[[], MarketplaceClient]":
        """Return the function to call in another process. It has no credentials.

        The proxy and the CAs are those of the other machine.
        """
        connection = self._connection
        named: dict[str, Any] = {
            "profile": connection.profile,
            "region": connection.region,
            "edge": connection.edge,
            "base_url": connection.base_url,
            "allow_http": connection.allow_http,
            "timeout": connection.timeout,
        }
        given = {name: value for name, value in named.items() if value not in (None, False)}
        return functools.partial(client_of_worker, **given)


def client_of_worker(**options: Any) -> "MarketplaceClient":
    """Return a client for the job of another process, with the credentials of this one.

    Raises:
        CredentialsError: They are not there. Nobody is asked for them.
    """
    from .. import MarketplaceClient
    from .resolution import resolve

    try:
        access = resolve(Connection(**options), may_prompt=False)
    except CommandError as error:
        raise CredentialsError(str(error)) from None
    return MarketplaceClient(access.credentials, **access.options)

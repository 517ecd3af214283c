"""The credentials and options of a command, and where each was read."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from .. import ClientOptions, Credentials


@attrs.frozen
class Access:
    """The credentials and options of a command, and where each was read.

    Attributes:
        credentials: The credentials.
        source: Where the credentials were read, such as `profile "work" in ...`.
        options: The other options of the client.
        sources: Where each option was read, by name.
    """

    credentials: "Credentials"
    source: str
    options: "ClientOptions" = attrs.field(repr=False)  # the proxy's URL may hold a password
    sources: Mapping[str, str]

    @property
    def identity(self) -> str:
        """The credentials without their secret, such as "API key SK..."."""
        from .. import AccountToken, ApiKey

        credentials = self.credentials
        if isinstance(credentials, AccountToken):
            return f"account {credentials.account_sid}"
        if isinstance(credentials, ApiKey):
            return f"API key {credentials.key_sid}"
        return f"OAuth app {credentials.client_id}"

    @property
    def address(self) -> str:
        """The base URL, or "Twilio's API" if there is none."""
        return str(self.options.get("base_url") or "Twilio's API")

    @property
    def address_source(self) -> str:
        """Where the address was read."""
        return self.sources.get("base_url", "the region and edge")

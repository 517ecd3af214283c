"""The resolved credentials and settings of a command, and where each was read."""

from collections.abc import Mapping

import attrs

from .. import AccountToken, ApiKey, Credentials
from ..client import ClientOptions


@attrs.frozen
class Access:
    """Who asks, and where, with where each was read.

    Attributes:
        credentials: Who asks.
        source: Where the credentials were read, such as "the profile work in ...".
        options: What else the client takes.
        sources: Where each of those was read.
    """

    credentials: Credentials
    source: str
    options: ClientOptions
    sources: Mapping[str, str]

    @property
    def who(self) -> str:
        """The credentials without their secret, such as "the API key SK..."."""
        credentials = self.credentials
        if isinstance(credentials, AccountToken):
            return f"the account {credentials.account_sid}"
        if isinstance(credentials, ApiKey):
            return f"the API key {credentials.key_sid}"
        return f"the OAuth app {credentials.client_id}"

    @property
    def address(self) -> str:
        """Where requests go."""
        return str(self.options.get("base_url") or "the vendor's")

    @property
    def address_source(self) -> str:
        """Where that was read."""
        return self.sources.get("base_url", "the region and the edge")

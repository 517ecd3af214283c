"""Retry quotas: bound the retries that are sent to a failing service."""

from typing import Final, Literal

import attrs

from ..errors import MarketplaceError, RateLimitedError
from .limiter import Limiter

# Retries that may be made in a row without a success.
_PER_ACCOUNT: Final = 50.0
_PER_ORIGIN: Final = 500.0
# What a success puts back, in addition to the retries that led to it.
_REFUND: Final = 0.2
# Accounts that are remembered. A full bucket is not worth remembering.
_MAX_ACCOUNTS: Final = 10_000

Withheld = Literal["account", "service"]


class RetryQuotas:
    """The token buckets of a client and its derived clients: one per account, one per origin.

    A retry takes a token from both. A success puts back the tokens of the retries that led to it,
    and a little more. So calls to a service that is down soon send one request each, and
    occasional failures are always retried.
    """

    def __init__(self, limiter: Limiter) -> None:
        self.limiter = limiter
        # The tokens that are missing from the bucket of each account and origin.
        self._accounts: dict[str, float] = {}
        self._origins: dict[str, float] = {}

    @property
    def is_full(self) -> bool:
        """Whether no bucket misses a token."""
        return not self._origins and not self._accounts

    def take(self, account: str, origin: str) -> Withheld | None:
        """Take a token from both buckets, or return the name of the one that is empty."""
        of_account = self._accounts.get(account, 0.0) + 1
        of_origin = self._origins.get(origin, 0.0) + 1
        if of_origin > _PER_ORIGIN:
            return "service"
        if of_account > _PER_ACCOUNT:
            return "account"
        self._accounts[account], self._origins[origin] = of_account, of_origin
        if len(self._accounts) > _MAX_ACCOUNTS:
            del self._accounts[next(iter(self._accounts))]
        return None

    def put_back(self, account: str, origin: str, retries: int) -> None:
        for buckets, key in ((self._accounts, account), (self._origins, origin)):
            if key in buckets:
                buckets[key] -= retries + _REFUND
                if buckets[key] <= 0:
                    del buckets[key]


@attrs.define(eq=False, repr=False)
class RetryQuota:
    """The quotas that apply to one account at one origin."""

    quotas: RetryQuotas
    account: str
    origin: str

    def take(self, error: MarketplaceError) -> Withheld | None:
        """Take the tokens for a retry after this error, or return the name of the empty quota."""
        if isinstance(error, RateLimitedError) and self.quotas.limiter.is_searching(self.account):
            # The limiter caused it, because it does not know the limit yet.
            return None
        withheld = self.quotas.take(self.account, self.origin)
        if withheld is not None:
            self.quotas.limiter.count_withheld_retry()
        return withheld

    def count_retry(self) -> None:
        """Record that a request is retried."""
        self.quotas.limiter.count_retry()

    def put_back(self, retries: int) -> None:
        """Record a success after this many retries."""
        if not self.quotas.is_full:
            self.quotas.put_back(self.account, self.origin, retries)

"""The client of the jobs on troubled clusters, here and on the workers."""

import os
import time
from pathlib import Path
from typing import Self

from marketplace_async import Credentials, MarketplaceClient, Retry

ATTEMPT = 2.0  # seconds


class TroubledClient(MarketplaceClient):
    """A client that ends its process, or uses all of its memory, for some accounts."""

    def with_credentials(self, credentials: Credentials) -> Self:
        if credentials.account_sid == os.environ.get("TEST_POISON"):
            os._exit(7)
        flag = Path(os.environ.get("TEST_HOG_ONCE", "/nonexistent/folder/file"))
        if credentials.account_sid == os.environ.get("TEST_HOG") and not flag.exists():
            flag.touch()
            hoard = [b"x" * 2**20 for _ in range(700)]
            time.sleep(20)
            del hoard
        return super().with_credentials(credentials)


def connect(url: str) -> MarketplaceClient:
    """Return a client of the parent account, whose credentials the environment has."""
    retry = Retry(attempts=8, max_elapsed=20.0, initial_backoff=0.01, max_backoff=0.2)
    return TroubledClient.from_env(
        base_url=url, allow_http=True, timeout=ATTEMPT, retry=retry, concurrency=16
    )

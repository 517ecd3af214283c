"""The rule that a client serves one event loop at a time."""

import asyncio

from ..errors import ClientClosedError


def check_closed(loop: asyncio.AbstractEventLoop) -> None:
    """Check that the event loop that a client is bound to is closed, so that another can follow.

    Raises:
        ClientClosedError: It is not.
    """
    if not loop.is_closed():
        raise ClientClosedError(
            "this client is bound to another event loop that is still running; "
            "create one client per event loop"
        )

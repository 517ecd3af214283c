"""What the tests of all account sources share."""

import pickle
import traceback
from collections.abc import AsyncIterable

from marketplace_async import Account
from marketplace_async.testing import account

PARENT = account().account_sid
SECRET = "geheim-42"


def sid_of(number: int) -> str:
    return f"AC{number:032x}"


async def collect(
    source: AsyncIterable[Account], found: list[Account] | None = None
) -> list[Account]:
    """Return all accounts. `found` receives those that come before an error."""
    found = [] if found is None else found
    async for each in source:
        found.append(each)
    return found


def assert_hidden(secret: str, error: BaseException, *more: str) -> None:
    """Check that neither the error nor a variable in its tracebacks' package frames shows it."""
    shown: traceback.TracebackException | None
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    texts = [str(error), repr(error), repr(vars(error)), repr(pickle.dumps(error)), *more]
    while shown is not None:
        texts.append(str(shown))
        frames = [frame for frame in shown.stack if "/marketplace_async/" in frame.filename]
        texts += [repr(frame.locals) for frame in frames]
        shown = shown.__cause__ or shown.__context__
    for text in texts:
        assert secret not in text

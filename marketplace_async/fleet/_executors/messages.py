"""The messages between a job and its workers: JSON, as bytes, without secrets."""

from collections import Counter
from typing import Any, Final, TypeAlias

import msgspec

from ..._core.limiter import Stats

# Increase it when the messages change. A worker with another version is unfit.
PROTOCOL: Final = 1

Message: TypeAlias = dict[str, Any]


def encode(message: Message) -> bytes:
    """Return a message as JSON."""
    return msgspec.json.encode(message)


def decode(data: bytes) -> Message:
    """Return the message that JSON contains."""
    message: Message = msgspec.json.decode(data, type=dict[str, Any])
    return message


def counters(stats: Stats) -> dict[str, int]:
    """Return request counters as plain JSON."""
    return stats.__getstate__()


def total(*stats: Stats) -> Stats:
    """Return the sum of request counters."""
    sums: Counter[str] = Counter()
    for one in stats:
        sums.update(counters(one))
    return Stats(**sums)  # type: ignore[arg-type]  # counters only, no `of_account`

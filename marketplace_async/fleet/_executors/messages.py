"""The messages between a job and its workers: JSON, as bytes, without secrets."""

from typing import Any, Final, TypeAlias

import msgspec

from ..._core.limiter import Stats

# Changes with the messages. A worker of another version is unfit.
PROTOCOL: Final = 1

Message: TypeAlias = dict[str, Any]


def encode(message: Message) -> bytes:
    """Return a message as JSON."""
    return msgspec.json.encode(message)


def decode(data: bytes) -> Message:
    """Return the message in JSON."""
    message: Message = msgspec.json.decode(data, type=dict[str, Any])
    return message


def counters(stats: Stats) -> Message:
    """Return request counters as plain JSON."""
    return {
        "sent": stats.sent,
        "throttled": stats.throttled,
        "retried": stats.retried,
        "withheld": stats.withheld,
        "waiting": stats.waiting,
        "in_flight": stats.in_flight,
    }


def total(*stats: Stats) -> Stats:
    """Return the sum of request counters."""
    return Stats(
        sent=sum(one.sent for one in stats),
        throttled=sum(one.throttled for one in stats),
        retried=sum(one.retried for one in stats),
        withheld=sum(one.withheld for one in stats),
        waiting=sum(one.waiting for one in stats),
        in_flight=sum(one.in_flight for one in stats),
    )

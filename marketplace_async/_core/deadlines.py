"""Timeouts that share one timer. One timer per request would cost a tenth of the request."""

import asyncio

import attrs


@attrs.define(eq=False, repr=False)
class Deadline:
    """The time by which a request must have ended."""

    at: float
    task: "asyncio.Task[object]"
    cancelling: int
    expired: bool = False

    def take_back(self) -> bool:
        """Undo the timeout's cancellation of the task. Return True if nobody else cancelled it."""
        if not self.expired:
            return False
        self.expired = False
        # As in asyncio.timeout: another party may have cancelled the task as well.
        return self.task.uncancel() <= self.cancelling


class Deadlines:
    """Cancels tasks whose requests take longer than a fixed number of seconds.

    All deadlines are equally long, so they expire in the order in which they began. One timer, for
    the first of them, is enough.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        # In the order in which they began. Each is removed as soon as it ends: otherwise one slow
        # request would keep all later ones alive.
        self._running: dict[Deadline, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def begin(self) -> Deadline:
        """Start the deadline of a request of the current task."""
        task = asyncio.current_task()
        assert task is not None
        loop = task.get_loop()
        if self._loop is not loop:
            # The one before is closed, and its timer never fires.
            self._loop, self._timer = loop, None
            self._running.clear()
        deadline = Deadline(loop.time() + self._seconds, task, task.cancelling())
        self._running[deadline] = None
        if self._timer is None:
            self._timer = loop.call_at(deadline.at, self._cancel_expired)
        return deadline

    def end(self, deadline: Deadline) -> None:
        """Remove a deadline: its request has ended."""
        # A middleware of the session may have swallowed the cancellation.
        deadline.take_back()
        self._running.pop(deadline, None)

    def _cancel_expired(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        for deadline in self._running:
            if deadline.expired:
                continue
            if deadline.at > loop.time():
                self._timer = loop.call_at(deadline.at, self._cancel_expired)
                return
            deadline.expired = True
            deadline.task.cancel()

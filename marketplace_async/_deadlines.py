"""Time-outs that share one timer: a timer for each request costs a tenth of the request."""

import asyncio

import attrs


@attrs.define(eq=False, repr=False)
class Deadline:
    """When a request has to have ended."""

    at: float
    task: "asyncio.Task[object]"
    cancelling: int
    expired: bool = False

    def take_back(self) -> bool:
        """Take back its cancellation of the task, if any; tell whether it was the only one."""
        if not self.expired:
            return False
        self.expired = False
        # As in asyncio.timeout: somebody else may have cancelled the task, too.
        return self.task.uncancel() <= self.cancelling


class Deadlines:
    """Cancels the tasks whose requests take longer than so many seconds.

    All have the same time, so that they end in the order in which they began: one timer, for the
    first of them, is enough.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        # In the order in which they began, and gone as soon as they have ended: one that takes an
        # hour would keep all that began after it.
        self._running: dict[Deadline, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> Deadline:
        """Let the time of a request of this task begin."""
        task = asyncio.current_task()
        assert task is not None
        loop = task.get_loop()
        deadline = Deadline(loop.time() + self._seconds, task, task.cancelling())
        self._running[deadline] = None
        if self._timer is None:
            self._timer = loop.call_at(deadline.at, self._cancel_the_late)
        return deadline

    def end(self, deadline: Deadline) -> None:
        """Take note that a request has ended, however it did."""
        # What was cancelled may have ended otherwise, such as by a middleware of the session.
        deadline.take_back()
        del self._running[deadline]

    def _cancel_the_late(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        for deadline in self._running:
            if deadline.expired:
                continue
            if deadline.at > loop.time():
                self._timer = loop.call_at(deadline.at, self._cancel_the_late)
                return
            deadline.expired = True
            deadline.task.cancel()

"""Fleet jobs on the command line: progress, Ctrl-C, and errors."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import attrs

from .. import fleet
from .progress import Bar
from .status import CommandError, Status, note

RESUME_HINT: Final = "Use --resume to continue it, or --overwrite to start over."

_MAX_DETAILS: Final = 5


@attrs.define
class Running:
    """A running job.

    Attributes:
        bar: The progress bar.
        stop: Set by Ctrl-C. The job then finishes its running requests and ends.
        prompting: Whether a prompt is open. Ctrl-C then ends the job immediately.
    """

    bar: Bar
    stop: asyncio.Event = attrs.field(factory=asyncio.Event)
    prompting: bool = False

    def interrupt(self, job: "asyncio.Task[object]") -> None:
        """Stop the job: gracefully the first time, immediately the second time."""
        if self.stop.is_set() or self.prompting:
            self.stop.set()
            job.cancel()
            return
        self.stop.set()
        self.bar.disable()
        note("finishing running requests; press Ctrl-C again to stop immediately")


@contextmanager
def running(*, shows: bool = True, hint: str | None = None) -> Iterator[Running]:
    """Run a job in the block.

    Args:
        shows: Whether to show a progress bar on a terminal.
        hint: The hint for a job that cannot start or continue.
    """
    loop, job = asyncio.get_running_loop(), asyncio.current_task()
    assert job is not None
    with Bar(shows=shows) as bar:
        state = Running(bar)
        with suppress(NotImplementedError):  # on Windows, Ctrl-C stops the job immediately
            loop.add_signal_handler(signal.SIGINT, state.interrupt, job)
        try:
            yield state
        except fleet.JobError as error:
            raise CommandError(str(error), hint) from None
        except asyncio.CancelledError:
            if not state.stop.is_set():
                raise
            raise CommandError("interrupted", status=Status.INTERRUPTED) from None
        finally:
            with suppress(NotImplementedError):
                loop.remove_signal_handler(signal.SIGINT)


def count_accounts(count: int) -> str:
    """Return a number of accounts in words."""
    return f"{count:,} account" + ("" if count == 1 else "s")


def failed(
    failures: fleet.Failures, total: int, hint: str, *, verb: str = "failed"
) -> CommandError:
    """Return the error that lists the accounts that failed.

    Args:
        failures: The failures.
        total: The number of accounts in the job.
        hint: How to continue.
        verb: What happened to the accounts.
    """
    details = [
        f"{failure.account_sid}{f' ({failure.friendly_name})' if failure.friendly_name else ''}: "
        f"{failure.message}"
        for failure in failures.first[:_MAX_DETAILS]
    ]
    more = failures.count - len(details)
    if more:
        where = f", listed in {failures.file}" if failures.file is not None else ""
        details.append(f"... and {more:,} more{where}")
    elif failures.file is not None:
        hint = f"Failures are also listed in {failures.file}. {hint}"
    return CommandError(
        f"{failures.count:,} of {count_accounts(total)} {verb}",
        hint or None,
        Status.FAILED if failures.count >= total else Status.PARTLY_FAILED,
        details,
    )


def interrupted(progress: str, hint: str) -> CommandError:
    """Return the error of an interrupted job."""
    return CommandError(f"interrupted: {progress}", hint, Status.INTERRUPTED)

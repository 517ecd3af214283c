"""A job as a command runs it: with a progress bar, an end on Ctrl-C, and what it came to."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import attrs

from .. import fleet
from .progress import Bar
from .status import CommandError, Status, note

RESUME_HINT: Final = "--resume goes on with what is there, --overwrite begins anew."

_MOST_SHOWN: Final = 5


@attrs.define
class Running:
    """A job that runs in a terminal.

    Attributes:
        bar: What shows how far it is.
        stop: Is set on Ctrl-C: then the job finishes what it has begun, and ends.
        asking: Whether a question is open, which Ctrl-C ends at once.
    """

    bar: Bar
    stop: asyncio.Event = attrs.field(factory=asyncio.Event)
    asking: bool = False

    def interrupt(self, job: "asyncio.Task[object]") -> None:
        """End the job: gently at first, and at once when it is asked for again."""
        if self.stop.is_set() or self.asking:
            self.stop.set()
            job.cancel()
            return
        self.stop.set()
        self.bar.quit()
        note("finishing what has begun; Ctrl-C again ends it at once")


@contextmanager
def running(*, shows: bool = True, hint: str | None = None) -> Iterator[Running]:
    """Run a job in the block.

    Args:
        shows: Whether to show a progress bar, if somebody is there to see it.
        hint: What to do about a job that cannot begin, or cannot go on.
    """
    loop, job = asyncio.get_running_loop(), asyncio.current_task()
    assert job is not None
    with Bar(shows=shows) as bar:
        state = Running(bar)
        with suppress(NotImplementedError):  # on Windows, Ctrl-C ends it at once
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


class Shown:
    """An output of a job that is shown as it comes; a subclass says how, with `write`."""

    def begin(self) -> None:
        """Nothing comes before the records."""

    def resume(self, position: int) -> None:
        """What was shown is not gone on with."""
        raise ValueError("what is shown cannot be resumed")

    def sync(self) -> int:
        """Nothing is certain of what is shown."""
        return 0

    def close(self) -> None:
        """Nothing was opened."""


def accounts(count: int) -> str:
    """Return a number of accounts in words."""
    return f"{count:,} account" + ("" if count == 1 else "s")


def failed(
    failures: fleet.Failures, among: int, hint: str, *, what: str = "failed"
) -> CommandError:
    """Return the error that says which accounts failed, and where all of them are.

    Args:
        failures: What the job came to.
        among: Of how many accounts.
        hint: What to do about it.
        what: What they did.
    """
    details = [
        f"{one.account_sid}{f' ({one.friendly_name})' if one.friendly_name else ''}: {one.message}"
        for one in failures.first[:_MOST_SHOWN]
    ]
    more = failures.count - len(details)
    if more:
        where = f", in {failures.file}" if failures.file is not None else ""
        details.append(f"... and {more:,} more{where}")
    elif failures.file is not None:
        hint = f"They are in {failures.file}, too. {hint}"
    return CommandError(
        f"{failures.count:,} of {accounts(among)} {what}",
        hint or None,
        Status.FAILED if failures.count >= among else Status.PARTLY_FAILED,
        details,
    )


def interrupted(done: str, hint: str) -> CommandError:
    """Return the error of a job that was ended early."""
    return CommandError(f"interrupted: {done}", hint, Status.INTERRUPTED)

"""Fleet jobs on the command line: signals, progress, and one way to end."""

import asyncio
import signal
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import attrs

from .. import MarketplaceError, fleet
from .._core.files import check_output
from .explanations import EXPLAINED, Explained, explain
from .progress import Bar
from .status import CommandError, Status, note, usage_error, warn

# What the user can do about a job that cannot start or continue.
_REMEDIES: Final = {
    "resume or overwrite": "Use --resume to continue it, or --overwrite to start over.",
    "resume": "Then use --resume to continue.",
    "overwrite": "Use --overwrite to start over.",
}

# A terminal that is closed sends SIGHUP; Windows has neither this nor signal handlers.
SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
_MAX_DETAILS: Final = 5


class Report(Protocol):
    """The report of a job."""

    @property
    def counts(self) -> fleet.Counts: ...
    @property
    def failures(self) -> fleet.Failures: ...
    @property
    def complete(self) -> bool: ...
    @property
    def workers(self) -> tuple[fleet.WorkerReport, ...]: ...


R = TypeVar("R", bound=Report)


@attrs.define
class Running:
    """A running job.

    Attributes:
        bar: The progress bar.
        stop: Set by the first signal. The job then finishes its running requests and ends.
        abort: Set by the second signal. The job then ends at once.
        prompting: Whether a prompt is open. A signal then ends the job at once.
        first_signal: The number of the first signal.
        error: The error that ended the job early.
    """

    bar: Bar
    stop: asyncio.Event = attrs.field(factory=asyncio.Event)
    abort: asyncio.Event = attrs.field(factory=asyncio.Event)
    prompting: bool = False
    first_signal: int = signal.SIGINT
    error: BaseException | None = None

    def interrupt(self, number: int, job: "asyncio.Task[object]") -> None:
        """Stop the job: gracefully the first time, at once the second time."""
        if self.prompting or self.abort.is_set() or not self.bar.has_begun:
            if not self.stop.is_set():
                self.first_signal = number
            self.stop.set()
            job.cancel()
        elif self.stop.is_set():
            self.abort.set()
        else:
            self.first_signal = number
            self.stop.set()
            self.bar.disable()
            note("finishing running requests; press Ctrl-C again to stop immediately")

    async def report_of(self, job: Coroutine[Any, Any, R]) -> R:
        """Run a job and return its report, also if an error ended it early."""
        try:
            return await job
        except fleet.JobEndedError as error:
            self.error = error.__cause__
            report: R = error.report
            return report

    def end(
        self,
        report: Report,
        result: str,
        hint: str,
        *,
        verb: str = "failed",
        is_shown: bool = False,
        wrote: bool = False,
    ) -> None:
        """Print what the job did.

        Args:
            report: The report.
            result: What was done, in a few words.
            hint: What to do next, if not everything was done.
            verb: What happened to accounts that failed.
            is_shown: Whether the output shows the result of a job that did everything.
            wrote: Whether the job has changed any account.

        Raises:
            CommandError: Not everything was done. It has the exit status.
        """
        counts = report.counts
        _show_workers(report.workers)
        if self.error is None and report.complete:
            if not_done(counts) or counts.left_out or not is_shown:
                note(result + left_out(counts))
            if not_done(counts):
                raise _failed(report, hint, verb, wrote=wrote)
            return
        problems = [f"{result}{left_out(counts)}", summary(counts)]
        if self.error is not None:
            assert isinstance(self.error, EXPLAINED)
            cause = _explained(self.error, hint)
            status = Status.PARTLY_FAILED if counts.done or wrote else cause.status
            problems += _details(report.failures)
            raise CommandError(
                f"ended early: {cause.message}",
                cause.hint,
                Status.UNKNOWN if counts.unknown else status,
                problems,
            )
        raise CommandError("interrupted", hint, 128 + self.first_signal, problems)


@contextmanager
def running(*, shows: bool = True) -> Iterator[Running]:
    """Run a job in the block.

    Args:
        shows: Whether to show progress.
    """
    loop, job = asyncio.get_running_loop(), asyncio.current_task()
    assert job is not None
    with Bar(shows=shows) as bar:
        state = Running(bar)
        with suppress(NotImplementedError):  # on Windows, Ctrl-C ends the job at once
            for number in SIGNALS:
                loop.add_signal_handler(number, state.interrupt, number, job)
        try:
            yield state
        except fleet.JobError as error:
            raise CommandError(error.message, _REMEDIES.get(error.remedy or "")) from None
        except asyncio.CancelledError:
            if not state.stop.is_set():
                raise
            raise CommandError("interrupted", status=128 + state.first_signal) from None
        finally:
            with suppress(NotImplementedError):
                for number in SIGNALS:
                    loop.remove_signal_handler(number)


def check_file(file: Path, option: str) -> None:
    """Raise CommandError if a job cannot write to `file`. Blocks."""
    hint = None
    if option == "--to":
        hint = "Leave out --to to print to standard output; --output sets the format."
    if str(file) == "-":
        raise usage_error(f"{option} -: expected the path of a regular file", hint)
    try:
        check_output(file)
    except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
        raise usage_error(f"{option} {error}") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise usage_error(f"{option} {error}", hint) from None


def _explained(error: Explained, hint: str) -> CommandError:
    """Return the message and the hint for an error that ended a job early."""
    if isinstance(error, MarketplaceError):
        error.resume_at = None  # of a list, not of the job
    if isinstance(error, fleet.JobError):
        return CommandError(error.message, _REMEDIES.get(error.remedy or "", hint))
    explained = explain(error)
    hints = " ".join(filter(None, (explained.hint, hint)))
    return attrs.evolve(explained, hint=hints)


def count_accounts(count: int) -> str:
    """Return a number of accounts in words."""
    return f"{count:,} account" + ("" if count == 1 else "s")


def account_name(sid: str, friendly_name: str | None) -> str:
    """Return the SID of an account with its name. A parent account is often named like its SID."""
    is_told = friendly_name and friendly_name != sid
    return f"{sid} ({friendly_name})" if is_told else sid


def not_done(counts: fleet.Counts) -> int:
    """Return the number of accounts that are not done."""
    return counts.accounts - counts.done


def summary(counts: fleet.Counts) -> str:
    """Return what became of the accounts in words."""
    names = ("done", "skipped", "failed", "unknown", "not_begun")
    parts = [
        f"{getattr(counts, name):,} {name.replace('_', ' ')}"
        for name in names
        if getattr(counts, name)
    ]
    return f"{count_accounts(counts.accounts)}: {', '.join(parts) or 'none done'}"


def left_out(counts: fleet.Counts) -> str:
    """Return in words which accounts were left out."""
    if not counts.left_out:
        return ""
    parts = ", ".join(f"{count:,} {status}" for status, count in sorted(counts.left_out.items()))
    return f" (left out: {parts})"


def plain(counts: fleet.Counts) -> dict[str, Any]:
    """Return the counts as plain JSON."""
    return {"accounts": counts.accounts, **attrs.asdict(counts)}


def _failed(report: Report, hint: str, verb: str, *, wrote: bool) -> CommandError:
    counts, failures = report.counts, report.failures
    count = not_done(counts)
    kinds = [name for name in ("skipped", "failed", "unknown") if getattr(counts, name)]
    message = f"{count:,} of {count_accounts(counts.accounts)} "
    message += verb if kinds == ["failed"] else f"not done ({summary(counts)})"
    if failures.file is not None and failures.count <= _MAX_DETAILS:
        hint = f"Failures are also listed in {failures.file}. {hint}"
    if counts.unknown:
        status = Status.UNKNOWN
    else:
        status = Status.PARTLY_FAILED if counts.done or wrote else Status.FAILED
    return CommandError(message, hint or None, status, _details(failures))


def _show_workers(workers: Sequence[fleet.WorkerReport]) -> None:
    for one in workers:
        if one.unfit is not None:
            warn(f"{one.name} could not work for the job: {one.unfit}")
            continue
        done = f"{one.name}: {count_accounts(one.accounts)}, {one.sent:,} requests"
        if one.lost is not None:
            warn(f"{done}; lost: {one.lost}")
        else:
            note(done)


def _details(failures: fleet.Failures) -> list[str]:
    details = [
        f"{account_name(failure.account_sid, failure.friendly_name)}: {failure.message}"
        for failure in failures.first[:_MAX_DETAILS]
    ]
    if more := failures.count - len(details):
        where = f", listed in {failures.file}" if failures.file is not None else ""
        details.append(f"... and {more:,} more{where}")
    return details

"""Performs the steps of one account: one write per step, after a check of the current state."""

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final, Literal

import attrs

from .._core.masking import redacted, redacted_json
from .._core.pagination import complete
from ..client import MarketplaceClient
from ..errors import (
    AmbiguousOutcomeError,
    ConflictError,
    MarketplaceError,
    NotEnsuredError,
    NotFoundError,
    UnreadableFieldError,
    UnusableResponseError,
)
from ..resources.installed_add_on import InstalledAddOn
from ..resources.wishes import Wish
from ..retry import Verdict, verdict_on
from ._engine.entries import Kept, Write, WriteOutcome
from ._engine.shards import AccountTimeoutError, TimeLimit
from .comparison import kept_by_service, kept_message
from .desired import Desired, Wanted
from .digests import Digests
from .masking import masked
from .rewriting import Attempt
from .steps import Observed, Step

CHANGED: Final = "changed since the plan"


class AccountWriter:
    """Performs steps on one account, and tracks how far each write got.

    Args:
        client: The client of the account.
        account_sid: The account, `AC...`.
        limit: How long the account may take.
        wanted: The desired state of the account.
        observed: The observed state.
        desired: The whole desired state.
        digests: Computes the digests of the steps.
        kept: The configurations that the service is known to store differently, by digest.

    Attributes:
        is_proven: Whether a response has shown that the credentials belong to the account.
        has_written: Whether a write was sent.
        timed_out: A message if the account took too long.
    """

    def __init__(
        self,
        client: MarketplaceClient,
        account_sid: str,
        limit: TimeLimit,
        wanted: Sequence[Wanted],
        observed: Observed,
        desired: Desired,
        digests: Digests,
        kept: Mapping[str, str],
    ) -> None:
        self._add_ons = client.installed_add_ons
        # Between two attempts of a write, the installation is compared again.
        self._retry = client.retry
        self._once = client.with_options(
            retry=attrs.evolve(self._retry, attempts=1)
        ).installed_add_ons
        self._account_sid = account_sid
        self._limit = limit
        self._wanted = {one.unique_name: one for one in wanted}
        self._observed = observed
        self._digests = digests
        self._kept = kept
        self._secret = desired.secret
        self._secrets = observed.secret_values(desired.secret).union(
            desired.secret_values(), *(one.secret_values(desired.secret) for one in wanted)
        )
        self._installed: dict[str, str] = {}
        self.is_proven: bool = observed.is_proven
        self.has_written: bool = False
        self.timed_out: str | None = None
        # Whether nothing was awaited since the list of installed Add-ons was read.
        self._is_fresh = not observed.extensions and bool(observed.installed)
        self._is_writing = False
        self._before: dict[str, Any] | None = None
        self._after: dict[str, Any] | None = None

    async def write(self, step: Step) -> Write:
        """Perform a step and return its result."""
        write = await self._outcome(step)
        if not self._is_writing:
            return write
        return attrs.evolve(write, before=self._before, after=self._after)

    async def _outcome(self, step: Step) -> Write:
        self._is_writing = False
        try:
            async with self._limit.enforced():
                return await self._done(step)
        except AccountTimeoutError as error:
            self.timed_out = str(error)
            outcome: WriteOutcome = "unknown" if self._is_writing else "failed"
            return Write(step.key, outcome, step.sid, str(error), type(error).__name__)
        except (MarketplaceError, ValueError) as error:
            message = redacted(str(error), self._secrets)
            outcome = _outcome_of(error) if self._is_writing else "failed"
            return Write(step.key, outcome, step.sid, message, type(error).__name__)

    async def _done(self, step: Step) -> Write:
        match step.action:
            case "install":
                return await self._install(step)
            case "rename":
                return await self._rename(step)
            case "update":
                return await self._update(step)
            case "remove":
                return await self._remove(step)
            case "enable" | "disable":
                return await self._switch(step)

    async def _install(self, step: Step) -> Write:
        wanted = self._wanted[step.unique_name]
        sent = wanted.configuration_to_write(None, self._secret)
        self._begin_write(after=sent or {})
        try:
            record = await self._add_ons.create(
                available_add_on_sid=wanted.available_add_on_sid or "",
                accept_terms_of_service=True,
                configuration=sent,
                unique_name=wanted.unique_name,
            )
        except ConflictError as error:
            if error.after_unknown:
                raise
            # A second worker may be performing the same step.
            async with aclosing(complete(self._add_ons.list())) as installed:
                records = [one async for one in installed if one.unique_name == step.unique_name]
            if not (records and self._is_after(step, records[0])):
                return changed(step.key)
            self._installed[step.unique_name] = records[0].sid
            return Write(step.key, "unchanged", records[0].sid)
        self._installed[step.unique_name] = record.sid
        return self._confirmed(step, record, sent or {})

    async def _rename(self, step: Step) -> Write:
        assert step.sid is not None
        for attempt in Attempt.sequence(self._retry):
            current = await self._read_again(step)
            if current is not None:
                if current.available_add_on_sid != step.available_add_on_sid:
                    return changed(step.key)
                if current.unique_name == step.unique_name:
                    outcome: WriteOutcome = "done" if attempt.may_have_written else "unchanged"
                    return Write(step.key, outcome, step.sid)
                if current.unique_name != step.previous_name:
                    return changed(step.key)
            self._begin_write()
            with attempt:
                record = await self._once.update(step.sid, unique_name=step.unique_name)
                wish = Wish(
                    step.unique_name, step.available_add_on_sid or "", None, self._account_sid
                )
                wish.confirmed(record, "updated")
                return Write(step.key, "done", record.sid)
            await attempt.wait()
        raise AssertionError("the last attempt returns or raises")

    async def _update(self, step: Step) -> Write:
        assert step.sid is not None
        assert step.after is not None
        wanted = self._wanted[step.unique_name]
        if self._kept.get(step.after) == step.before:
            return Write(step.key, "unchanged", step.sid)
        for attempt in Attempt.sequence(self._retry):
            current = await self._read_again(step)
            if current is not None and self._is_after(step, current):
                return Write(
                    step.key, "done" if attempt.may_have_written else "unchanged", step.sid
                )
            if current is not None and not self._is_before(step, current):
                return changed(step.key)
            before = current or self._observed.of(wanted)[0]
            sent = wanted.configuration_to_write(before.configuration or {}, self._secret)
            self._begin_write(before.configuration or {}, sent)
            with attempt:
                record = await self._once.update(step.sid, configuration=sent)
                return self._confirmed(step, record, sent or {})
            await attempt.wait()
        raise AssertionError("the last attempt returns or raises")

    async def _remove(self, step: Step) -> Write:
        assert step.sid is not None
        for attempt in Attempt.sequence(self._retry):
            try:
                current = await self._read_again(step)
                if current is not None and not self._is_before(step, current):
                    return changed(step.key)
                before = current or self._observed.named(step.unique_name)
                self._begin_write(None if before is None else before.configuration)
                with attempt:
                    await self._once.delete(step.sid)
                    return Write(step.key, "done", step.sid)
            except NotFoundError:
                outcome: WriteOutcome = "done" if attempt.may_have_written else "unchanged"
                return Write(step.key, outcome, step.sid)
            await attempt.wait()
        raise AssertionError("the last attempt returns or raises")

    async def _switch(self, step: Step) -> Write:
        sid = step.sid or self._installed[step.unique_name]
        extensions = self._add_ons.extensions(sid)
        existing = self._observed.extensions.get(sid)
        if existing is None:  # the Add-on was installed by an earlier step
            existing = tuple([one async for one in complete(extensions.list())])
        extension = next((one for one in existing if one.unique_name == step.extension), None)
        if extension is None:
            for one in existing:
                if "unique_name" in one.unreadable:
                    raise UnreadableFieldError(one.sid, ["unique_name"])
            message = f"{sid} has no extension {step.extension}"
            return Write(step.key, "failed", sid, message, "NotFoundError")
        self._begin_write()
        await extensions.update(extension.sid, enabled=step.action == "enable")
        return Write(step.key, "done", sid)

    async def _read_again(self, step: Step) -> InstalledAddOn | None:
        """Return the current installation. None if it was read just before."""
        if self._is_fresh:
            return None
        assert step.sid is not None
        record = await self._add_ons.fetch(step.sid)
        unknown = {"configuration", "links", "unique_name"}.intersection(record.unreadable)
        if unknown:
            raise UnreadableFieldError(record.sid, sorted(unknown))
        return record

    def _is_before(self, step: Step, record: InstalledAddOn) -> bool:
        """Return whether an installation is as the plan saw it."""
        return self._has(step, record, step.before)

    def _is_after(self, step: Step, record: InstalledAddOn) -> bool:
        """Return whether an installation is as the step would make it."""
        return self._has(step, record, step.after)

    def _has(self, step: Step, record: InstalledAddOn, digest: str | None) -> bool:
        return (
            record.unique_name in self._wanted[step.unique_name].names
            and record.available_add_on_sid == step.available_add_on_sid
            and self.digest_of(step, record) == digest
        )

    def digest_of(self, step: Step, record: InstalledAddOn) -> str:
        """Return the digest of the part of a configuration that is compared."""
        compared = self._wanted[step.unique_name].compared(record.configuration)
        return self._digests.of(compared)

    def _begin_write(
        self, before: Mapping[str, Any] | None = None, after: Mapping[str, Any] | None = None
    ) -> None:
        self._before, self._after = self._for_journal(before), self._for_journal(after)
        self._is_fresh = False
        self.has_written = self._is_writing = True

    def _for_journal(self, configuration: Mapping[str, Any] | None) -> dict[str, Any] | None:
        if configuration is None:
            return None
        document = masked(dict(configuration), self._secret)
        hidden: dict[str, Any] | None = redacted_json(document, self._secrets)
        return hidden

    def _confirmed(self, step: Step, record: InstalledAddOn, sent: dict[str, Any]) -> Write:
        """Return the result of a write, including how the service stored the configuration.

        Raises:
            NotEnsuredError: The response does not match what was written.
        """
        if record.account_sid == self._account_sid:
            self.is_proven = True
        wanted = self._wanted[step.unique_name]
        action: Literal["installed", "updated"]
        action = "installed" if step.action == "install" else "updated"
        wish = Wish(wanted.unique_name, step.available_add_on_sid or "", None, self._account_sid)
        wish.confirmed(record, action)
        if "configuration" in record.unreadable:
            raise NotEnsuredError(record, ["configuration is unknown"], action)
        changes = kept_by_service(sent, record.configuration or {}, wanted.ignore, self._secret)
        if not changes:
            return Write(step.key, "done", record.sid)
        assert step.after is not None
        message = f"{step.unique_name}: the service {'; '.join(map(kept_message, changes))}"
        message = redacted(message, self._secrets)
        kept = Kept(step.after, self.digest_of(step, record), message)
        return Write(step.key, "done", record.sid, kept=kept)


def changed(key: str, what: str = "") -> Write:
    """Return the result of a step that is skipped because of a change since the plan."""
    message = f"{CHANGED}: {what}" if what else CHANGED
    return Write(key, "skipped", message=message, error="ChangedSincePlan")


def _outcome_of(error: Exception) -> WriteOutcome:
    """Return "unknown" if the write may have taken effect, else "failed"."""
    if isinstance(error, UnusableResponseError):
        return "unknown" if error.is_write else "failed"
    if isinstance(error, NotEnsuredError):
        return "unknown"
    if isinstance(error, AmbiguousOutcomeError) or getattr(error, "after_unknown", False):
        return "unknown"
    if isinstance(error, MarketplaceError) and verdict_on(error) is Verdict.UNKNOWN:
        return "unknown"
    return "failed"

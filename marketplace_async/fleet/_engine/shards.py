"""What is done with the accounts of a shard, wherever it runs: the one coroutine is `work`."""

import asyncio
from collections.abc import Collection, Sequence

import attrs

from ...client import MarketplaceClient
from ...errors import AmbiguousOutcomeError, MarketplaceError, MissingExtraError, NotFoundError
from ...resources.available_add_ons import AvailableAddOn, configuration_errors
from ...resources.installed_add_ons import InstalledAddOn, InstalledAddOnExtension
from ...retry import Verdict, verdict_on
from ..desired import Desired, Wanted
from ..masking import masked, redacted, secret_values
from ..outputs import ExtensionRecord, InventoryRecord
from ..sources import Connection, Target
from ..steps import AccountPlan, Observed, Step, steps_for, with_extensions_that_matter
from .journal import Failure, Write, WriteOutcome


@attrs.frozen
class ReadAddOns:
    """Read what is installed.

    Args:
        extensions: Whether to read the extensions of each, too; a request more for each.
        secret: Keys of configurations whose values are masked.
    """

    extensions: bool = False
    secret: tuple[str, ...] = ()


@attrs.frozen
class PlanSteps:
    """Tell what is to be done.

    Args:
        desired: What is wanted.
        offered: The add-ons of the catalogue that are wanted, by SID.
    """

    desired: Desired
    offered: dict[str, AvailableAddOn] = attrs.field(hash=False, repr=False)


@attrs.frozen
class TakeSteps:
    """Do what is to be done, as far as it was planned.

    Args:
        desired: What is wanted.
        planned: The steps that were approved, by account: the `key` of each.
    """

    desired: Desired
    planned: dict[str, tuple[str, ...]] = attrs.field(hash=False)


@attrs.frozen
class Shard:
    """Some accounts, and what is to be done with them. It pickles, and holds no credentials."""

    targets: tuple[Target, ...]
    task: ReadAddOns | PlanSteps | TakeSteps


@attrs.frozen
class AccountResult:
    """What came of one account: a value, or why it failed.

    Attributes:
        target: The account.
        value: What was read, planned or written.
        failure: Why there is no value.
    """

    target: Target
    value: "tuple[InventoryRecord, ...] | AccountPlan | tuple[Write, ...]" = ()
    failure: Failure | None = None


async def work(connection: Connection, shard: Shard) -> tuple[AccountResult, ...]:
    """Work through the accounts of a shard, all at once; one that fails stops no other.

    Doing it again does no harm: what is there is read first, and only what differs is written.
    """
    clients = await connection.clients([target.account_sid for target in shard.targets])
    return tuple(
        await asyncio.gather(
            *(
                _work_account(clients[target.account_sid], target, shard.task)
                for target in shard.targets
            )
        )
    )


async def _work_account(
    client: MarketplaceClient | Exception, target: Target, task: ReadAddOns | PlanSteps | TakeSteps
) -> AccountResult:
    try:
        if isinstance(client, Exception):
            if isinstance(task, TakeSteps):
                return AccountResult(target, _none_of(task.planned[target.account_sid], client))
            raise client
        match task:
            case ReadAddOns():
                return AccountResult(target, await _read(client, target, task))
            case PlanSteps():
                return AccountResult(target, await _plan(client, target, task))
            case TakeSteps():
                return AccountResult(target, await _apply(client, target, task))
    except Exception as error:  # noqa: BLE001 - one account's failure, whatever it is, stops no other
        return AccountResult(target, failure=failure_of(target, error))


def failure_of(target: Target, error: Exception) -> Failure:
    """Say what an account failed with."""
    return Failure(target.account_sid, target.friendly_name, type(error).__name__, str(error))


# -- inventory


async def _read(
    client: MarketplaceClient, target: Target, task: ReadAddOns
) -> tuple[InventoryRecord, ...]:
    records = []
    for one in await _installed(client):
        extensions = None
        if task.extensions:
            extensions = tuple(map(_extension_record, await _extensions(client, one)))
        record = _record(target, one, extensions)
        if task.secret:
            configuration = masked(record.configuration, task.secret)
            record = attrs.evolve(record, configuration=configuration)
        records.append(record)
    return tuple(records)


async def _installed(client: MarketplaceClient) -> tuple[InstalledAddOn, ...]:
    # A record that moves while the pages are read can come twice.
    return tuple({one.sid: one async for one in client.installed_add_ons.list()}.values())


async def _extensions(
    client: MarketplaceClient, installed: InstalledAddOn
) -> list[InstalledAddOnExtension]:
    try:
        return await client.installed_add_ons.extensions(installed.sid).list().collect()
    except NotFoundError:
        # It was removed since it was listed.
        return []


def _record(
    target: Target, one: InstalledAddOn, extensions: tuple[ExtensionRecord, ...] | None
) -> InventoryRecord:
    return InventoryRecord(
        account_sid=one.account_sid,
        account_friendly_name=target.friendly_name,
        sid=one.sid,
        unique_name=one.unique_name,
        friendly_name=one.friendly_name,
        available_add_on_sid=one.available_add_on_sid,
        configuration=one.configuration,
        date_created=one.date_created,
        date_updated=one.date_updated,
        extensions=extensions,
    )


def _extension_record(one: InstalledAddOnExtension) -> ExtensionRecord:
    return ExtensionRecord(
        sid=one.sid,
        unique_name=one.unique_name,
        friendly_name=one.friendly_name,
        product_name=one.product_name,
        enabled=one.enabled,
    )


# -- plan


async def _observe(client: MarketplaceClient, wanted: Sequence[Wanted]) -> Observed:
    observed = Observed(await _installed(client))
    extensions = {
        one.sid: tuple(await _extensions(client, one))
        for one in with_extensions_that_matter(wanted, observed)
    }
    return attrs.evolve(observed, extensions=extensions)


async def _plan(client: MarketplaceClient, target: Target, task: PlanSteps) -> AccountPlan:
    desired = task.desired
    wanted = desired.wanted(target.account_sid, target.friendly_name)
    if not wanted:
        return AccountPlan(target.account_sid, target.friendly_name, ())
    observed = await _observe(client, wanted)
    steps, problems = steps_for(wanted, observed, desired.secret)
    written = {step.unique_name for step in steps if step.action in ("install", "update")}
    invalid = {
        one.unique_name: problem
        for one in wanted
        if one.unique_name in written
        and (problem := _invalid(one, task.offered, desired.secret)) is not None
    }
    return AccountPlan(
        target.account_sid,
        target.friendly_name,
        tuple(step for step in steps if step.unique_name not in invalid),
        (*problems, *invalid.values()),
    )


def _invalid(
    wanted: Wanted, offered: dict[str, AvailableAddOn], secret: Collection[str]
) -> str | None:
    """Say what is wrong with a configuration, as far as that can be told."""
    add_on = offered.get(wanted.available_add_on_sid or "")
    if add_on is None:
        return None
    configuration = wanted.configuration or {}
    try:
        issues = configuration_errors(add_on, configuration)
    except MissingExtraError:
        # Then it is for the service to refuse it.
        return None
    if not issues:
        return None
    text = "; ".join(f"{issue.path or 'the whole'}: {issue.message}" for issue in issues)
    text = redacted(text, secret_values(configuration, secret))
    return f"{wanted.path}.configuration does not meet the add-on's schema: {text}"


# -- apply


async def _apply(client: MarketplaceClient, target: Target, task: TakeSteps) -> tuple[Write, ...]:
    desired, planned = task.desired, task.planned[target.account_sid]
    wanted = desired.wanted(target.account_sid, target.friendly_name)
    try:
        # Read again: what was planned may be done already, or may be another step by now.
        observed = await _observe(client, wanted)
    except MarketplaceError as error:
        return _none_of(planned, error)
    steps, _ = steps_for(wanted, observed, desired.secret)
    secrets = desired.secret_values() | observed.secret_values(desired.secret)
    to_do = {step.key: step for step in steps}
    by_name = {one.unique_name: one for one in wanted}
    writes: list[Write] = []
    broken: set[str] = set()
    sids: dict[str, str] = {}
    for key in planned:
        step = to_do.get(key)
        if step is None:
            writes.append(Write(key, "unchanged"))
        elif step.unique_name in broken:
            writes.append(_skipped(key, f"a step of {step.unique_name} before it failed"))
        else:
            write = await _take(client, step, by_name[step.unique_name], observed, sids)
            if write.outcome in ("failed", "unknown"):
                broken.add(step.unique_name)
                write = attrs.evolve(write, message=redacted(write.message or "", secrets))
            writes.append(write)
    writes += [
        _skipped(key, "it came up after the plan: run it again")
        for key in to_do
        if key not in planned
    ]
    return tuple(writes)


def _none_of(planned: tuple[str, ...], error: Exception) -> tuple[Write, ...]:
    """Say that nothing was written, and why."""
    first, *others = planned
    return (
        Write(first, "failed", message=str(error), error=type(error).__name__),
        *(Write(key, "skipped") for key in others),
    )


def _skipped(key: str, message: str) -> Write:
    return Write(key, "skipped", message=message, error="JobError")


async def _take(
    client: MarketplaceClient,
    step: Step,
    wanted: Wanted,
    observed: Observed,
    sids: dict[str, str],
) -> Write:
    try:
        match step.action:
            case "install" | "update":
                ensured = await client.installed_add_ons.ensure(
                    unique_name=wanted.unique_name,
                    available_add_on_sid=wanted.available_add_on_sid or "",
                    accept_terms_of_service=True,
                    configuration=wanted.configuration,
                    inventory=observed.installed,
                )
                sid = sids[step.unique_name] = ensured.record.sid
                return Write(
                    step.key, "unchanged" if ensured.action == "unchanged" else "done", sid
                )
            case "enable" | "disable":
                sid = step.sid or sids[step.unique_name]
                return await _switch(client, step, sid, observed)
            case "remove":
                assert step.sid is not None
                try:
                    await client.installed_add_ons.delete(step.sid)
                except NotFoundError:
                    return Write(step.key, "unchanged", step.sid)
                return Write(step.key, "done", step.sid)
    except (MarketplaceError, ValueError) as error:
        return Write(step.key, _outcome_of(error), step.sid, str(error), type(error).__name__)


async def _switch(
    client: MarketplaceClient, step: Step, installed_sid: str, observed: Observed
) -> Write:
    extensions = client.installed_add_ons.extensions(installed_sid)
    there = observed.extensions.get(installed_sid)
    if there is None:
        # It was only just installed.
        there = tuple(await extensions.list().collect())
    sid = next((one.sid for one in there if one.unique_name == step.extension), None)
    if sid is None:
        message = f"{installed_sid} has no extension {step.extension}"
        return Write(step.key, "failed", installed_sid, message, "NotFoundError")
    await extensions.update(sid, enabled=step.action == "enable")
    return Write(step.key, "done", installed_sid)


def _outcome_of(error: Exception) -> WriteOutcome:
    """Tell whether a write that ended in an error may have happened."""
    if isinstance(error, AmbiguousOutcomeError) or getattr(error, "after_unknown", False):
        return "unknown"
    if isinstance(error, MarketplaceError) and verdict_on(error) is Verdict.UNKNOWN:
        return "unknown"
    return "failed"

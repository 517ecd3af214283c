"""Tasks and their results as JSON, without secrets, for workers in other processes."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from ..._core.codec import from_json
from ..._core.converter import json_converter
from ...resources.available_add_ons import AvailableAddOn
from ...serialization import from_dict, to_dict
from .._engine.entries import Failure, JobError, Write
from .._engine.shards import AccountResult, Approved, Shard, Task
from ..catalogue import Catalogue
from ..connections import Target
from ..desired import Desired
from ..digests import KEY_VARIABLE, Digests, PlanKey
from ..inventories import ReadAddOns
from ..loading import from_document
from ..offers import Offer
from ..outputs import InventoryRecord
from ..parts import Part
from ..planning import PlanSteps
from ..steps import AccountPlan
from ..taking import TakeSteps

T = TypeVar("T")

_RESULTS: Final[Mapping[type[Task], Any]] = {
    ReadAddOns: tuple[InventoryRecord, ...],
    PlanSteps: AccountPlan,
    TakeSteps: tuple[Write, ...],
}


def plain(value: object, cls: Any) -> Any:
    """Return a value as plain JSON."""
    return msgspec.json.decode(_dumps(value, cls))


def typed(document: Any, cls: type[T]) -> T:
    """Return the value that `plain` was called with."""
    return msgspec.convert(document, cls)


def _dumps(value: object, cls: Any) -> bytes:
    return json_converter().dumps(value, unstructure_as=cls)


def describe(task: Task) -> dict[str, Any]:
    """Return a task as plain JSON. Blocks for 50 milliseconds if there are secret values.

    Raises:
        DesiredStateError: The desired state contains secret values.
        JobError: The task cannot be sent.
    """
    match task:
        case ReadAddOns():
            return {
                "kind": "inventory",
                "extensions": task.extensions,
                "secret": list(task.secret),
            }
        case PlanSteps():
            add_ons = task.catalogue.add_ons
            return {
                "kind": "plan",
                **_of_desired(task.desired, task.digests),
                "add_ons": {sid: to_dict(record) for sid, record in add_ons.items()},
                "offers": plain(dict(task.catalogue.offers), dict[str, Offer]),
                "unmanaged": task.unmanaged,
                "part": plain(task.part, Part),
            }
        case TakeSteps():
            return {
                "kind": "apply",
                **_of_desired(task.desired, task.digests),
                "parts": plain(task.parts, tuple[Part, ...]),
                "offers": plain(dict(task.offers), dict[str, Offer]),
            }
        case _:
            raise JobError(f"{type(task).__name__} cannot run in other processes")


def task_of(document: Mapping[str, Any]) -> Task:
    """Return the task that was described. Blocks.

    Raises:
        DesiredStateError, ValueError: This process does not have the values that the task needs.
    """
    match document["kind"]:
        case "inventory":
            return ReadAddOns(document["extensions"], tuple(document["secret"]))
        case "plan":
            desired, digests = _desired_of(document)
            catalogue = Catalogue(
                {sid: from_dict(one, AvailableAddOn) for sid, one in document["add_ons"].items()},
                typed(document["offers"], dict[str, Offer]),
            )
            part = typed(document["part"], Part)
            return PlanSteps(desired, digests, catalogue, document["unmanaged"], part)
        case "apply":
            desired, digests = _desired_of(document)
            parts = typed(document["parts"], tuple[Part, ...])
            return TakeSteps(desired, digests, parts, typed(document["offers"], dict[str, Offer]))
        case kind:
            raise ValueError(f"unknown task {kind!r}")


_PROOF: Final = b"marketplace_async: the same secret values"


def _of_desired(desired: Desired, digests: Digests) -> dict[str, Any]:
    """Return a desired state as written, and proofs that let a worker check its secret values."""
    values = desired.secret_values()
    key = digests.key
    own = key if key is not None and key.salt is not None else PlanKey.derived(values)
    assert own.salt is not None
    document: dict[str, Any] = {
        "desired": desired.as_written(),
        "secrets": {"salt": own.salt.hex(), "proof": own.digest(_PROOF)},
        "key": None,
    }
    if key is own:
        document["key"] = "derived"
    elif key is not None:
        nonce = secrets.token_hex(16)
        file = None if key.file is None else str(key.file.resolve())
        document["key"] = {"nonce": nonce, "proof": key.digest(nonce.encode()), "file": file}
    return document


def _desired_of(document: Mapping[str, Any]) -> tuple[Desired, Digests]:
    desired = from_document(document["desired"], os.environ)
    own = PlanKey.derived(desired.secret_values(), bytes.fromhex(document["secrets"]["salt"]))
    if own.digest(_PROOF) != document["secrets"]["proof"]:
        raise ValueError(
            "the environment variables of the desired state have different values in the job"
        )
    key: PlanKey | None = None
    match document["key"]:
        case "derived":
            key = own
        case {"nonce": nonce, "proof": proof, "file": file}:
            key = PlanKey.from_env()
            if key is None and file is not None and Path(file).is_file():
                key = PlanKey.from_file(file)
            if key is None:
                raise ValueError(f"{KEY_VARIABLE} is not set: set it to the plan key of the job")
            if key.digest(nonce.encode()) != proof:
                raise ValueError("the plan key of this worker differs from that of the job")
    return desired, Digests(key, desired.secret)


def encode_result(task: Task, result: AccountResult) -> bytes:
    """Return the result of an account as JSON."""
    document: dict[str, Any] = {"sid": result.target.account_sid}
    if result.failure is not None:
        document["failure"] = msgspec.Raw(_dumps(result.failure, Failure))
    else:
        document["value"] = msgspec.Raw(_dumps(result.value, _RESULTS[type(task)]))
    return msgspec.json.encode(document)


def decode_result(task: Task, data: bytes, targets: Mapping[str, Target]) -> AccountResult | None:
    """Return the result of an account. None if the account is not one of `targets`."""
    document = from_json(data, dict[str, msgspec.Raw], "a result")
    target = targets.get(msgspec.json.decode(document["sid"], type=str))
    if target is None:
        return None
    if "failure" in document:
        failure = from_json(bytes(document["failure"]), Failure, "a failure")
        return AccountResult(target, failure=failure)
    value: Any = from_json(bytes(document["value"]), _RESULTS[type(task)], "a result")
    return AccountResult(target, value)


def describe_shard(shard: Shard) -> dict[str, Any]:
    """Return a shard as plain JSON."""
    return {
        "targets": plain(shard.targets, tuple[Target, ...]),
        "approved": plain(shard.approved, Approved),
        "page": shard.page,
    }


def shard_of(document: Mapping[str, Any]) -> Shard:
    """Return the shard that was described."""
    return Shard(
        typed(document["targets"], tuple[Target, ...]),
        typed(document["approved"], Approved),
        document["page"],
    )

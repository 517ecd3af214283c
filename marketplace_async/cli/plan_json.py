"""Plans as plain JSON: values are JSON, never JSON text inside text."""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import attrs

from .. import fleet


def plain_plan(plan: fleet.AccountPlan) -> Mapping[str, Any]:
    """Return the plan of an account as plain JSON."""
    steps = [
        {**attrs.asdict(step), "changes": [plain_change(change) for change in step.changes]}
        for step in plan.steps
    ]
    return {**attrs.asdict(plan), "steps": steps}


def plain_group(group: fleet.Group) -> Mapping[str, Any]:
    """Return a group of steps as plain JSON. Each difference has its number of accounts."""
    ordered = sorted(
        group.differences, key=lambda one: (one.path, -group.changes[str(one)], str(one))
    )
    changes = [{**plain_change(one), "accounts": group.changes[str(one)]} for one in ordered]
    return {
        **attrs.asdict(group, filter=lambda field, _: field.name != "differences"),
        "changes": changes,
    }


def plain_change(change: fleet.Change) -> dict[str, Any]:
    """Return a difference as an object with path, before and after.

    A key that is not set before or after leaves this item out: null is a value.
    """
    values = {"before": change.before, "after": change.after}
    known = {name: _value(text) for name, text in values.items() if text is not None}
    return {"path": change.path, **known}


def _value(text: str) -> Any:
    """Return the value of JSON text, with every digit, or the text itself if it is masked."""
    try:
        return json.loads(text, parse_float=Decimal)
    except ValueError:
        return text

"""Every class that is serialized, and hypothesis strategies for values of each."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import attrs
from hypothesis import HealthCheck, settings, strategies as st

from marketplace_async import (
    Account,
    AvailableAddOn,
    AvailableAddOnExtension,
    BillableItem,
    ConfigurationIssue,
    Ensured,
    InstalledAddOn,
    InstalledAddOnExtension,
    Listing,
    Page,
    ReferralConversion,
    ReportedItem,
    UsageReport,
    bulk,
    fleet,
    webhooks,
)
from marketplace_async._core.records import Record, Value, marked

# Values of many fields take a while on a busy machine.
quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])

texts = st.text()
plain_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
amounts = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**40), max_value=10**40)
# What a response may hold where it should hold something else.
raw_values = plain_json | st.just(float("inf")) | st.just("half of \ud83d")
dates = st.datetimes(
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45))]),
)
sids = st.from_regex(r"BI[0-9a-f]{32}", fullmatch=True)


def values_of(type_: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for the values of an annotation."""
    simple: dict[Any, st.SearchStrategy[Any]] = {
        str: texts,
        bool: st.booleans(),
        int: st.integers(-(2**63), 2**63),
        Decimal: amounts,
        NoneType: st.none(),
        Any: plain_json,
        datetime: dates,
    }
    if type_ in simple:
        return simple[type_]
    origin, arguments = get_origin(type_), get_args(type_)
    if origin in (Union, UnionType):
        return st.one_of(*(values_of(member) for member in arguments))
    if origin is Annotated:
        return dates
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is tuple:
        return st.lists(values_of(arguments[0]), max_size=3).map(tuple)
    if origin is dict:
        return st.dictionaries(texts, values_of(arguments[1]), max_size=3)
    return records_of(type_)


def records_of(cls: Any) -> st.SearchStrategy[Any]:
    if cls is BillableItem:
        return st.builds(cls, sids, amounts.filter(lambda amount: amount > 0))
    if cls == Page[InstalledAddOn]:
        return st.builds(Page, values_of(tuple[InstalledAddOn, ...]), values_of(str | None))
    if cls == bulk.Success[str, UsageReport]:
        return st.builds(bulk.Success, texts, records_of(UsageReport))
    fields = [field for field in attrs.fields(cls) if field.name != "credentials"]
    built = st.builds(cls, **{field.name: values_of(field.type) for field in fields})
    if not issubclass(cls, Record):
        return built
    optional = [field.name for field in fields if field.default is not attrs.NOTHING]
    unknown = st.dictionaries(st.sampled_from(optional), st.just(attrs.NOTHING) | raw_values)
    return st.builds(_with_unknown, built, unknown)


def _with_unknown(record: Any, unknown: dict[str, Any]) -> Any:
    return marked(attrs.evolve(record, **dict.fromkeys(unknown)), unknown)


def unknown_fields(value: Any) -> Any:
    """Return the unknown fields of a value, and of all values in it."""
    if isinstance(value, dict):
        return {name: unknown_fields(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [unknown_fields(item) for item in value]
    if not isinstance(value, Value):
        return None
    cls: Any = type(value)
    fields = (field.name for field in attrs.fields(cls))
    inner = {name: unknown_fields(getattr(value, name)) for name in fields}
    return dict(getattr(value, "unreadable", {})), inner


CLASSES: list[Any] = [
    Account,
    AvailableAddOn,
    AvailableAddOnExtension,
    BillableItem,
    ConfigurationIssue,
    Ensured,
    InstalledAddOn,
    InstalledAddOnExtension,
    Listing,
    Page[InstalledAddOn],
    ReferralConversion,
    ReportedItem,
    UsageReport,
    bulk.Success[str, UsageReport],
    fleet.ExtensionRecord,
    fleet.InventoryRecord,
    fleet.WorkerReport,
    webhooks.AddOnPayload,
    webhooks.AddOnResult,
    webhooks.AddOnResults,
]

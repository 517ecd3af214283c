"""`Success` and `Failure`, and the names that pickles and documentation see."""

import pickle

import pytest

from marketplace_async import bulk


def test_a_success_has_a_value_and_a_failure_raises_its_error() -> None:
    outcomes: list[bulk.Outcome[int, str]] = [bulk.Success(1, "one"), bulk.Failure(2, KeyError(2))]
    assert [outcome.ok for outcome in outcomes] == [True, False]
    assert [outcome.value for outcome in outcomes if outcome.ok] == ["one"]
    assert outcomes[0].error is None
    with pytest.raises(KeyError) as raised:
        outcomes[1].value  # noqa: B018 - a property that raises
    assert raised.value is outcomes[1].error


def test_outcomes_are_compared_hashed_shown_and_pickled_without_reading_the_value() -> None:
    success, failure = bulk.Success(1, "one"), bulk.Failure(2, KeyError(2))
    assert success == bulk.Success(1, "one") != bulk.Success(1, "two")
    assert failure == bulk.Failure(2, failure.error) != bulk.Failure(3, failure.error)
    assert len({success, failure, bulk.Failure(2, failure.error)}) == 2
    assert (repr(success), repr(failure)) == (
        "Success(item=1, value='one')",
        "Failure(item=2, error=KeyError(2))",
    )
    assert pickle.loads(pickle.dumps(success)) == success
    copy = pickle.loads(pickle.dumps(failure))
    assert (copy.item, repr(copy.error), copy.ok) == (2, "KeyError(2)", False)


def test_public_classes_name_the_public_module() -> None:
    classes = [getattr(bulk, name) for name in bulk.__all__]
    modules = {value.__name__: value.__module__ for value in classes if isinstance(value, type)}
    assert modules == dict.fromkeys(
        ["Failure", "Progress", "Settling", "Success"], "marketplace_async.bulk"
    )

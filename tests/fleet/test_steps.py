"""The steps for an account: computed from plain values, without an event loop."""

from typing import Any

import pytest

from marketplace_async import InstalledAddOn, InstalledAddOnExtension
from marketplace_async._core.masking import redacted
from marketplace_async.fleet.desired import Wanted
from marketplace_async.fleet.digests import Digests
from marketplace_async.fleet.masking import masked, secret_values
from marketplace_async.fleet.steps import (
    Observed,
    relevant_add_ons,
    steps_for,
)

SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"
OTHER = "XB85b56ed9ce713e0ac62342b901233193"
XE = "XE" + "1" * 32


def wanted(**changes: Any) -> Wanted:
    return Wanted(
        **{
            "path": "add_ons[0]",
            "unique_name": "spam-score",
            "state": "present",
            "available_add_on_sid": SPAM_SCORE,
            **changes,
        }
    )


def with_add_on(
    configuration: dict[str, Any] | None = None,
    *,
    add_on: str = SPAM_SCORE,
    unique_name: str = "spam-score",
    **enabled: bool,
) -> Observed:
    installed = InstalledAddOn(
        sid=XE,
        account_sid="AC" + "1" * 32,
        unique_name=unique_name,
        configuration=configuration,
        links={"available_add_on": f"https://x.example/v1/AvailableAddOns/{add_on}"},
    )
    extensions = tuple(
        InstalledAddOnExtension(
            sid="XF" + "1" * 32,
            installed_add_on_sid=XE,
            unique_name=name.replace("_", "-"),
            enabled=value,
        )
        for name, value in enabled.items()
    )
    return Observed((installed,), extensions={XE: extensions})


NOTHING = Observed(())
ON = {"voice-incoming": True, "lookup-api": False}


@pytest.mark.parametrize(
    ("one", "observed", "steps"),
    [
        (wanted(), NOTHING, ["install spam-score"]),
        (
            wanted(extensions=ON),
            NOTHING,
            ["install spam-score", "enable voice-incoming of spam-score"],
        ),
        (wanted(), with_add_on(), []),
        (wanted(), with_add_on({"a": 1}), []),
        (wanted(configuration={}), with_add_on(None), []),
        (wanted(configuration={"a": 1}), with_add_on({"a": 1}), []),
        (wanted(configuration={"a": 1}), with_add_on({"a": 1.0}), []),
        (wanted(configuration={"a": True}), with_add_on({"a": 1}), ["update spam-score"]),
        (wanted(configuration={"a": 1, "b": 2}), with_add_on({"b": 2, "a": 1}), []),
        (wanted(configuration={}), with_add_on({"a": 1}), ["update spam-score"]),
        (wanted(configuration={"a": 1}, ignore=("b",)), with_add_on({"a": 1, "b": 2}), []),
        (
            wanted(configuration={"a": 2}, ignore=("b",)),
            with_add_on({"a": 1, "b": 2}),
            ["update spam-score"],
        ),
        (wanted(), with_add_on(unique_name="another"), ["install spam-score"]),
        (wanted(extensions=ON), with_add_on(voice_incoming=True, lookup_api=False), []),
        (
            wanted(extensions=ON),
            with_add_on(voice_incoming=False, lookup_api=True),
            ["enable voice-incoming of spam-score", "disable lookup-api of spam-score"],
        ),
        (wanted(extensions={}), with_add_on(voice_incoming=True), []),
        (wanted(state="absent"), with_add_on(), ["remove spam-score"]),
        (wanted(state="absent", available_add_on_sid=None), with_add_on(), ["remove spam-score"]),
        (wanted(state="absent"), NOTHING, []),
        (wanted(state="absent"), with_add_on(unique_name="another"), []),
    ],
)
def test_steps_lead_from_the_observed_to_the_wanted_state(
    one: Wanted, observed: Observed, steps: list[str]
) -> None:
    found, problems = steps_for([one], observed, (), Digests(None))
    assert ([str(step) for step in found], problems) == (steps, ())
    assert all(step.sid == (None if observed is NOTHING or "install" in steps[0] else XE)
               for step in found)  # fmt: skip


@pytest.mark.parametrize("state", ["present", "absent"])
def test_a_different_add_on_of_the_same_name_is_neither_removed_nor_replaced(state: str) -> None:
    steps, problems = steps_for([wanted(state=state)], with_add_on(add_on=OTHER), (), Digests(None))
    assert steps == ()
    (problem,) = problems
    assert problem.message.startswith(
        "add_ons[0]: a different Add-on uses the unique name spam-score: "
    )
    assert OTHER in problem.message


def test_a_missing_extension_is_a_problem() -> None:
    steps, problems = steps_for(
        [wanted(extensions=ON)], with_add_on(lookup_api=False), (), Digests(None)
    )
    assert steps == ()
    (problem,) = problems
    assert problem.message == f"add_ons[0].extensions.voice-incoming: {XE} has no such extension"


def test_an_update_does_not_show_ignored_keys_and_an_installation_does() -> None:
    one = wanted(configuration={"a": 2, "b": 1}, ignore=("b",))
    ((update,), _) = steps_for([one], with_add_on({"a": 1, "b": 5, "c": 1}), (), Digests(None))
    assert [str(change) for change in update.changes] == ["~ a = 1 -> 2", "- c = 1"]
    ((install,), _) = steps_for([one], NOTHING, (), Digests(None))
    assert [str(change) for change in install.changes] == ["+ a = 2", "+ b = 1"]


def test_removals_come_first() -> None:
    first = wanted(unique_name="new")
    second = wanted(unique_name="spam-score", state="absent")
    steps, _ = steps_for([first, second], with_add_on(), (), Digests(None))
    assert [step.key for step in steps] == ["remove/spam-score", "install/new"]


def test_extensions_are_only_read_if_the_plan_depends_on_them() -> None:
    def read(one: Wanted, observed: Observed) -> list[str]:
        return [found.sid for found in relevant_add_ons([one], observed)]

    assert read(wanted(extensions=ON), with_add_on()) == [XE]
    assert read(wanted(), with_add_on()) == []
    assert read(wanted(extensions=ON), NOTHING) == []
    assert read(wanted(extensions=ON), with_add_on(add_on=OTHER)) == []


def test_a_message_that_quotes_a_secret_is_masked() -> None:
    secrets = secret_values(
        {"a": [{"token": 'say "hi"\\'}], "pin": 4711, "on": True}, {"token", "pin"}
    )
    assert secrets == {'say "hi"\\', "4711"}
    for message in ('say "hi"\\ is too short', r'"say \"hi\"\\" is too short', "4711 is not a pin"):
        assert "***" in redacted(message, secrets)
        assert "hi" not in redacted(message, secrets)
    assert masked({"on": True, "a": [{"pin": 1}]}, {"on", "pin"}) == {
        "on": "***",
        "a": [{"pin": "***"}],
    }

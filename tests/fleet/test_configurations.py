"""The special values of configurations: environment, null, removal, and account values."""

import pickle
import re
from typing import Any

import pytest
from hypothesis import example, given, strategies as st

from marketplace_async import fleet
from marketplace_async.fleet import DesiredStateError

SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"
ONE, TWO = "AC" + "1" * 32, "AC" + "2" * 32

HEAD = f"""
[[add_ons]]
unique_name = "spam"
available_add_on_sid = "{SPAM_SCORE}"
accept_terms_of_service = true
accounts = "all"
"""


def parse(configuration: str, *overrides: str, secret: str = "[]") -> fleet.Desired:
    text = f"secret = {secret}\n{HEAD}configuration = {configuration}\n"
    for override in overrides:
        text += f'[[add_ons.overrides]]\naccounts = "all"\nconfiguration = {override}\n'
    return fleet.parse(text, {"TOKEN": "from-{account_sid}", "EMPTY": ""})


def configured(read: fleet.Desired, *, name: str | None = "Shop", **columns: str) -> Any:
    (wanted,) = read.wanted(ONE, name, columns)
    return wanted.configuration


def problem(configuration: str, *overrides: str, secret: str = "[]") -> str:
    with pytest.raises(DesiredStateError) as caught:
        parse(configuration, *overrides, secret=secret)
    (one,) = caught.value.problems
    return one


@pytest.mark.parametrize(
    ("configuration", "secret", "value"),
    [
        ('{ token = { env = "TOKEN" } }', '["token"]', {"token": "from-{account_sid}"}),
        ('{ a = [{ env = "TOKEN" }] }', '["a"]', {"a": ["from-{account_sid}"]}),
        ('{ a = { b = { env = "TOKEN" } } }', '["a"]', {"a": {"b": "from-{account_sid}"}}),
        ('{ a.b = { env = "TOKEN" } }', '["b"]', {"a": {"b": "from-{account_sid}"}}),
        ('{ env = "TOKEN" }', "[]", {"env": "TOKEN"}),
        ('{ a = { env = "TOKEN", b = 1 } }', "[]", {"a": {"env": "TOKEN", "b": 1}}),
        ('{ a = { literal = { env = "TOKEN" } } }', "[]", {"a": {"env": "TOKEN"}}),
        ("{ a = { null = true } }", "[]", {"a": None}),
        ("{ a = [1, { null = true }] }", "[]", {"a": [1, None]}),
        ("{ null = true }", "[]", {"null": True}),
        ("{ a = { null = false } }", "[]", {"a": {"null": False}}),
        ("{ a = { null = 1 } }", "[]", {"a": {"null": 1}}),
        ("{ a = { literal = { null = true } } }", "[]", {"a": {"null": True}}),
        ("{ a = { literal = { remove = true } } }", "[]", {"a": {"remove": True}}),
        ("{ a = { literal = { literal = 1 } } }", "[]", {"a": {"literal": 1}}),
        ('{ a = { literal = "{account_sid}" } }', "[]", {"a": "{account_sid}"}),
    ],
)
def test_tables_of_one_key_stand_for_what_toml_cannot_say(
    configuration: str, secret: str, value: Any
) -> None:
    assert configured(parse(configuration, secret=secret)) == value


@pytest.mark.parametrize(
    ("overrides", "value"),
    [
        (["{ a = { remove = true } }"], {"t": {"b": 1, "c": 2}}),
        (["{ t = { b = { remove = true } } }"], {"a": 1, "t": {"c": 2}}),
        (["{ t = { remove = true } }"], {"a": 1}),
        (["{ t = { remove = true } }", "{ t = { b = 9 } }"], {"a": 1, "t": {"b": 9}}),
        (["{ t = { d = 3 } }", "{ t = { d = { remove = true } } }"], None),
        (["{ a = { null = true } }"], {"a": None, "t": {"b": 1, "c": 2}}),
        (["{ t = 5 }", "{ t = { b = { remove = true }, x = 1 } }"], {"a": 1, "t": {"x": 1}}),
        (["{ t = { literal = { b = { remove = true } } } }"],
         {"a": 1, "t": {"b": {"remove": True}, "c": 2}}),
    ],
)  # fmt: skip
def test_an_override_removes_a_key(overrides: list[str], value: Any) -> None:
    read = parse("{ a = 1, t = { b = 1, c = 2 } }", *overrides)
    assert configured(read) == (value or {"a": 1, "t": {"b": 1, "c": 2}})


@pytest.mark.parametrize(
    ("configuration", "override", "expected"),
    [
        (
            '{ token = { env = "TOKEN" } }',
            "{}",
            "line 8: add_ons[0].configuration.token (spam): only a secret key can have a value "
            'from the environment: add secret = ["token"] at the top of the file; write '
            "{ literal = ... } around a table that is meant literally",
        ),
        (
            "{ a = { remove = true } }",
            "{}",
            "line 8: add_ons[0].configuration.a (spam): only an override can remove a key; write "
            "{ literal = ... } around a table that is meant literally",
        ),
        (
            "{ a = [] }",
            "{ a = [{ b = { remove = true } }] }",
            "line 11: add_ons[0].overrides[0].configuration.a[0].b (spam): a list is replaced as a "
            "whole; write { literal = ... } around a table that is meant literally",
        ),
        (
            "{ limits = { minutes = 5 } }",
            "{ limits = { minuts = { remove = true } } }",
            "line 11: add_ons[0].overrides[0].configuration.limits.minuts (spam): nothing sets "
            "this key; did you mean limits.minutes?",
        ),
        (
            '{ a = "{Region}" }',
            "{}",
            "line 8: add_ons[0].configuration.a (spam): {Region} must be in lower case; write "
            "{{name}} for the text in braces",
        ),
        (
            "{ a = 1979-05-27 }",
            "{}",
            "line 8: add_ons[0].configuration.a (spam): JSON has no dates or times: write text, "
            "in quotes",
        ),
        (
            "{ a = { literal = [07:32:00] } }",
            "{}",
            "line 8: add_ons[0].configuration.a[0] (spam): JSON has no dates or times: write "
            "text, in quotes",
        ),
    ],
)
def test_a_value_that_cannot_be_meant_is_rejected(
    configuration: str, override: str, expected: str
) -> None:
    assert problem(configuration, override) == expected


@pytest.mark.parametrize("name", ["NOT_THERE", "EMPTY"])
def test_a_variable_that_is_not_set_is_rejected(name: str) -> None:
    assert problem("{ a = { b = { env = 'NAME' } } }".replace("NAME", name), secret='["b"]') == (
        f"line 8: add_ons[0].configuration.a.b (spam): environment variable {name} is not set"
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{account_sid}", ONE),
        ("https://x.example/{account_sid}/{friendly_name}?r={region}",
         f"https://x.example/{ONE}/Shop?r=eu"),
        ("{region}{region}", "eueu"),
        ("{{region}}", "{region}"),
        ("{{{region}}}", "{{region}}"),
        ("{{region}", "{eu"),
        ("{region}}", "eu}"),
        ('{"id":{"a":{region}}}', '{"id":{"a":eu}}'),
        ("{ region }", "{ region }"),
        ("{}", "{}"),
        ("{0}", "{0}"),
        ("{region.name}", "{region.name}"),
        ("{region!r}", "{region!r}"),
        ("${region}", "$eu"),
        ("{caf\u00e9}", "noir"),
        ("{cafe\u0301}", "noir"),
    ],
)  # fmt: skip
def test_names_in_braces_stand_for_values_of_the_account(text: str, value: str) -> None:
    document = {"a": [text, {"b": text}], text: 1}
    add_on = {
        "unique_name": "spam",
        "available_add_on_sid": SPAM_SCORE,
        "accept_terms_of_service": True,
        "accounts": "all",
        "configuration": document,
    }
    read = fleet.from_document({"add_ons": [add_on]})
    columns = {"region": "eu", "cafe\u0301": "noir", "account_sid": "another"}
    for same in (read, pickle.loads(pickle.dumps(read))):
        (wanted,) = same.wanted(ONE, "Shop", columns)
        # Keys are not changed.
        assert wanted.configuration == {"a": [value, {"b": value}], text: 1}


def test_a_value_of_the_account_is_not_read_for_names_again() -> None:
    assert configured(parse('{ a = "{friendly_name}" }'), name="{region}") == {"a": "{region}"}


@given(st.text("{}ab ", max_size=12))
@example("{{{a}}}")
def test_each_text_can_be_written(text: str) -> None:
    doubled = re.sub(r"\{[ab]+\}", lambda match: f"{{{match[0]}}}", text)
    add_on: dict[str, Any] = {"unique_name": "a", "accounts": "all"}
    add_on |= {"configuration": {"a": doubled}}
    add_on |= {"available_add_on_sid": SPAM_SCORE, "accept_terms_of_service": True}
    (wanted,) = fleet.from_document({"add_ons": [add_on]}).wanted(ONE, None)
    assert wanted.configuration == {"a": text}


@pytest.mark.parametrize(
    ("text", "columns", "reason"),
    [
        (
            "{regoin}",
            {"region": "eu"},
            "{regoin} is neither account_sid nor friendly_name nor a column of the accounts file; "
            "did you mean region?; write {{regoin}} for the text in braces",
        ),
        ("{region}", {"region": ""}, "region is empty for this account"),
        ("{friendly_name}", {}, "friendly_name is empty for this account"),
    ],
)
def test_an_account_without_the_value_fails_with_the_path(
    text: str, columns: dict[str, str], reason: str
) -> None:
    read = parse(f'{{ a = ["{text}"] }}', "{ b = 1 }")
    with pytest.raises(DesiredStateError) as caught:
        read.wanted(ONE, None, columns)
    assert caught.value.problems == (f"add_ons[0].configuration.a[0]: {reason}",)


def test_a_secret_that_looks_like_a_name_is_not_shown() -> None:
    read = parse('{ token = "abc{def}ghi" }', secret='["token"]')
    with pytest.raises(DesiredStateError) as caught:
        read.wanted(ONE, None)
    assert "def" not in str(caught.value)
    assert "def" not in problem('{ token = "abc{Def}ghi" }', secret='["token"]').lower()
    assert "def" not in repr(read) + repr(read.add_ons)


def test_a_secret_of_one_account_is_masked_on_that_account() -> None:
    read = parse('{ token = "{crm_token}", other = { token = "constant" } }', secret='["token"]')
    (wanted,) = read.wanted(ONE, None, {"crm_token": "of-this-account"})
    assert wanted.secret_values(read.secret) == {"of-this-account", "constant"}
    assert read.secret_values() == {"constant"}
    assert read.secret_values() is read.secret_values()
    assert "of-this-account" not in repr(wanted)


def test_names_that_look_alike_are_pointed_out() -> None:
    def named(name: str) -> dict[str, Any]:
        return {"unique_name": name, "accounts": {"sids": [ONE]}, "state": "absent"}

    names = ["Spam", "spam", "caf\u00e9", "cafe\u0301", "other", "other"]
    read = fleet.from_document({"add_ons": [named(name) for name in names]})
    assert read.warnings == (
        "the unique names 'Spam' and 'spam' differ only in case, spaces or Unicode form",
        r"the unique names 'caf\xe9' and 'cafe\u0301' differ only in Unicode form",
    )
    assert fleet.from_document({"add_ons": [named("a"), named("b")]}).warnings == ()

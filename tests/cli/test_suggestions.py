"""Words of other tools lead to the command that was meant."""

import pytest
from support.command_line import Cli, commands

from marketplace_async.cli.suggestions import _ELSEWHERE, _WORDS, meant_by


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("available get XB1", ["available fetch"]),
        ("available ls", ["available list"]),
        ("available install XB1", ["installed create"]),
        ("installed rm XE1", ["installed delete"]),
        ("installed add XB1", ["installed create"]),
        ("installed LIST", ["installed list"]),
        ("installed set XE1", ["installed update"]),
        ("installed extensions ls XE1", ["installed extensions list"]),
        ("installed extensions get XE1", ["installed extensions fetch"]),
        ("profiles rm work", ["profiles delete"]),
        ("profiles create work", ["profiles add"]),
        ("profiles show work", ["profiles list"]),
        ("list", ["installed list", "available list"]),
        ("ls", ["installed list", "available list"]),
        ("rm XE1", ["installed delete"]),
        ("uninstall XE1", ["installed delete"]),
        ("install XB1", ["installed create"]),
        ("enable XE1 XF1", ["installed extensions enable"]),
        ("get XE1", ["installed fetch", "available fetch"]),
        ("login", ["profiles add"]),
        ("version", ["--version"]),
    ],
)
def test_words_of_other_tools_lead_to_the_command_that_was_meant(
    cli: Cli, typed: str, meant: list[str]
) -> None:
    finished = cli(*typed.split())
    assert (finished.status, finished.out) == (2, "")
    question = " or ".join(f"`marketplace-async {command}`" for command in meant)
    assert f". Did you mean {question}?\nhint: See `marketplace-async" in finished.err


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("instaled list", 'Unknown command "instaled". Did you mean "installed"?'),
        ("available fetsh", 'Unknown command "fetsh". Did you mean "fetch"?'),
        ("available xyzzy", "Available commands: extensions, list, fetch."),
    ],
)
def test_typos_lead_to_the_nearest_command(cli: Cli, typed: str, message: str) -> None:
    assert message in cli(*typed.split()).err


def test_every_suggested_command_exists_and_no_suggested_word_is_a_command() -> None:
    known = {" ".join(words) for _, words in commands()} | {"--version"}
    assert _ELSEWHERE.keys() <= known
    for group, words in commands():
        names = {name for name in group.resolved_commands() if not name.startswith("-")}
        for name in names & _WORDS.keys():
            for word in set(_WORDS[name]) - names:
                meant = meant_by(word, words, names)
                assert meant, word
                assert set(meant) <= known
    assert {word for words in _WORDS.values() for word in words}.isdisjoint({"help", ""})

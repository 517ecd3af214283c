"""The command that was meant by a word that other tools use."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

# The words of other tools for a command, in every group that has the command.
_WORDS: Final[Mapping[str, Sequence[str]]] = {
    "fetch": ("get", "show", "view", "describe", "info", "read", "inspect"),
    "list": ("ls", "all", "search", "find", "show", "get"),
    "delete": ("rm", "remove", "del", "uninstall", "destroy", "unset"),
    "create": ("add", "new", "install", "report", "post", "register"),
    "update": ("set", "edit", "patch", "modify", "change", "configure"),
    "add": ("create", "new", "set", "login", "configure", "edit", "update"),
    "enable": ("on", "activate", "start"),
    "disable": ("off", "deactivate", "stop"),
    "check": ("validate", "verify", "lint"),
    "ensure": ("upsert",),
}
# Commands outside their group, and words for groups.
_ELSEWHERE: Final[Mapping[str, Sequence[str]]] = {
    "installed list": ("list", "ls", "all"),
    "available list": ("list", "ls", "search", "browse", "catalog", "catalogue", "addons"),
    "installed fetch": ("fetch", "get", "show", "view", "describe", "info"),
    "available fetch": ("fetch", "get", "show", "view", "describe", "info"),
    "installed create": ("create", "install", "add", "new"),
    "installed update": ("update", "set", "edit", "patch"),
    "installed delete": ("delete", "rm", "remove", "del", "uninstall", "destroy"),
    "installed ensure": ("ensure", "upsert"),
    "installed extensions list": ("extensions", "extension"),
    "installed extensions enable": ("enable", "activate"),
    "installed extensions disable": ("disable", "deactivate"),
    "installed usage create": ("usage", "bill", "report"),
    "accounts list": ("subaccounts", "whoami"),
    "profiles add": ("login", "auth", "config", "configure", "init"),
    "plan": ("diff", "preview", "check"),
    "apply": ("deploy", "sync", "up"),
    "inventory": ("export", "dump", "backup"),
    "emulator": ("serve", "server", "mock", "start"),
    "--version": ("version",),
}


def meant_by(word: str, group: Sequence[str], commands: Collection[str]) -> list[str]:
    """Return the commands that an unknown one probably means, with all of their words.

    Args:
        word: The unknown command.
        group: The words before it.
        commands: The commands of the group.
    """
    word = word.lower()
    if word in commands:  # in capitals
        return [" ".join((*group, word))]
    here = [
        " ".join((*group, command))
        for command, words in _WORDS.items()
        if command in commands and word in words
    ]
    return here[:1] or [command for command, words in _ELSEWHERE.items() if word in words]


def question(commands: Sequence[str]) -> str:
    """Ask whether one of these commands was meant."""
    return f"Did you mean {' or '.join(f'`marketplace-async {one}`' for one in commands)}?"

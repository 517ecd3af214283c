"""The command tree, and `run`: from arguments to exit status."""

import inspect
import sys
from collections.abc import Sequence
from typing import Any

import attrs
import cyclopts
from cyclopts import App, Group

from .._version import __version__
from .access import Access
from .connection import Connection
from .help_format import FULL_HELP, full_help
from .status import CommandError, Status, print_error, usage_error
from .streams import prepare
from .suggestions import meant_by, question

_MAX_LISTED = 8

_EPILOGUE = """\
More: `marketplace-async help connection`, `help output`, `help accounts` and
`help exit-statuses`. --help-all explains every option of a command."""

_HELP = """\
Use the Twilio Marketplace v1 API from the command line, or run an emulator of it.

Credentials come from a profile or from environment variables: start with \
`marketplace-async profiles add default`."""

app: App = App(
    name="marketplace-async",
    help=_HELP,
    help_format="plaintext",
    help_epilogue=_EPILOGUE,
    version=__version__,
    usage="Usage: marketplace-async COMMAND",
)

_FLEET = Group("Many accounts", sort_key=1)

# The module of a command is imported when the command is run, completed or explained.
_NOUNS = {
    "available": "Browse the catalogue of Add-ons.",
    "installed": "Install, configure and delete Add-ons on the account.",
    "accounts": "List the account and its subaccounts.",
    "listings": "For partners: manage the account's Marketplace listings.",
    "referrals": "For partners: report referred accounts.",
}
for _order, (_noun, _help) in enumerate(_NOUNS.items()):
    app.command(f"{__package__}.commands.{_noun}:app", name=_noun, help=_help, sort_key=_order)

_JOBS = {
    "inventory": """\
Export every installed Add-on of every account.

Prints to the terminal unless --to is given. If an account fails, the others continue; failures \
are listed at the end and in FILE.failures.jsonl.

Progress is saved in FILE.journal. Use --resume to continue an interrupted inventory and retry \
failed accounts. Ctrl-C lets running requests finish.""",
    "plan": """\
Preview the changes needed to bring every account to the desired state. Changes nothing.

The table groups identical changes. JSON Lines contains one plan per account; JSON contains a \
summary.""",
    "apply": """\
Install, configure, enable and delete Add-ons to reach the desired state.

Shows the plan, asks for confirmation and carries it out. If an account fails, the others \
continue; failures are listed at the end and in JOURNAL.failures.jsonl. Ctrl-C lets running \
requests finish; run apply again to do the remaining steps.""",
}
for _order, (_job, _help) in enumerate(_JOBS.items()):
    app.command(
        f"{__package__}.commands.{_job}:app", name=_job, help=_help, group=_FLEET, sort_key=_order
    )
app.command(
    f"{__package__}.commands.desired:app",
    name="desired",
    help="Write a first desired state from what is installed.",
    group=_FLEET,
    sort_key=len(_JOBS),
)
app.command(
    f"{__package__}.commands.journal:app",
    name="journal",
    help="Show what apply changed, and undo it.",
    group=_FLEET,
    sort_key=len(_JOBS),
)
app.command(
    f"{__package__}.commands.schema:schema",
    name="schema",
    help="Print the JSON Schema of the desired state, for editors.",
    group=_FLEET,
    sort_key=len(_JOBS) + 1,
)

app.command(
    f"{__package__}.commands.profiles:app",
    name="profiles",
    help="Manage named credentials.",
    sort_key=len(_NOUNS),
)


@app.command(sort_key=len(_NOUNS) + 1)
async def demo(*, base_url: str | None = None) -> int:
    """Demonstrate the client on three accounts: browse, install, configure, list and delete.

    Then reads 500 accounts at once. Takes a few seconds.
    Uses an emulator, and sends nothing to Twilio.
    The exit status is 0 only if every step succeeds.

    Parameters
    ----------
    base_url
        Run against this server instead, such as a running emulator.
        The accounts are made up, so Twilio itself would reject them.
    """
    from .commands import demo as steps

    return await steps.run(base_url)


app.command(
    f"{__package__}.commands.help:show_help",
    name="help",
    usage="Usage: marketplace-async help [TOPIC | COMMAND]",
    help="Explain a topic (connection, output, accounts, exit-statuses) or a command.",
    sort_key=len(_NOUNS) + 3,
)
app.command(
    f"{__package__}.commands.completion:install",
    name="--install-completion",
    help="Set up completion for bash, zsh or fish. Changes the shell's start-up file.",
)
app.command(
    f"{__package__}.commands.emulator:emulator",
    name="emulator",
    help="""\
Run an emulator of the Marketplace v1 API for tests and development.

The first line of output is its URL. Stop it with Ctrl-C or SIGTERM. Open the URL in a browser to \
see requests, state and faults.

It keeps state, validates configurations against the schemas of its Add-ons, supports paging and \
isolates accounts. It is not the service: it bills nothing, invokes no Add-ons, has no preview \
API, and guesses where Twilio's documentation does not describe a response. Do not expose it to \
the internet: it accepts all credentials by default, and anyone who can reach it can control it.""",
    sort_key=len(_NOUNS) + 2,
)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    words = [*(sys.argv[1:] if arguments is None else arguments)]
    options = words[: words.index("--")] if "--" in words else words
    if FULL_HELP in options:
        words[words.index(FULL_HELP)] = "--help"
        with full_help():
            return run(words)
    access: Access | None = None
    try:
        if sys.stdout is None:  # as in `marketplace-async installed list >&-`
            raise CommandError("standard output is closed")
        prepare()
        command, bound, _ = app.parse_args(
            words, print_error=False, exit_on_error=False, verbose=False
        )
        bound.apply_defaults()
        for name, value in bound.arguments.items():
            if isinstance(value, Connection) and value.needs_access():
                from .resolution import resolve

                access = resolve(value)
                bound.arguments[name] = attrs.evolve(value, access=access)
        result: Any = command(*bound.args, **bound.kwargs)
        if inspect.iscoroutine(result):
            import asyncio

            result = asyncio.run(result)
        return result if isinstance(result, int) else Status.DONE
    except cyclopts.CycloptsError as error:
        print_error(_invalid_usage(error))
        return Status.USAGE
    except BrokenPipeError:
        return Status.CLOSED_PIPE
    except SystemExit as error:
        # rich prints help, and ends the program if the output pipe is closed.
        if not isinstance(error.__context__, BrokenPipeError):
            raise
        return Status.CLOSED_PIPE
    except KeyboardInterrupt:
        return Status.INTERRUPTED
    except CommandError as error:
        print_error(error)
        return error.status
    except Exception as error:
        from .explanations import EXPLAINED, explain

        if not isinstance(error, EXPLAINED):
            raise
        explained = explain(error, access)
        print_error(explained)
        return explained.status


def _invalid_usage(error: cyclopts.CycloptsError) -> CommandError:
    if isinstance(error, cyclopts.UnusedCliTokensError):
        message = f"too many arguments: {' '.join(error.unused_tokens or ())}"
    elif isinstance(error, cyclopts.UnknownCommandError):
        message = _unknown_command(error)
    elif (
        isinstance(error, cyclopts.MissingArgumentError)
        and (argument := error.argument) is not None
        and argument.field_info.is_positional
        and not argument.tokens
        and error.keyword is None
    ):
        message = f"{argument.name.lstrip('-').upper()} is missing"  # the name that `--help` shows
    else:
        message = str(error)
    words = " ".join(("marketplace-async", *(error.command_chain or ())))
    return usage_error(message, f"See `{words} --help`.")


def _unknown_command(error: cyclopts.UnknownCommandError) -> str:
    """Return the message that Cyclopts would build by importing every command."""
    import difflib

    word, *_ = error.unused_tokens or ("",)
    commands = [name for name in error.app or () if name[0].isalpha()]
    message = f'Unknown command "{word}".'
    if meant := meant_by(word, error.command_chain or (), commands):
        return f"{message} {question(meant)}"
    if close := difflib.get_close_matches(word, commands, n=1):
        message += f' Did you mean "{close[0]}"?'
    more = ", ..." if len(commands) > _MAX_LISTED else "."
    return f"{message} Available commands: {', '.join(commands[:_MAX_LISTED])}{more}"

"""The commands put together, and how one is run from its arguments to its exit status."""

import asyncio
import inspect
import sys
from collections.abc import Sequence
from typing import Any

try:
    import cyclopts
    from cyclopts import App, Group
except ModuleNotFoundError:
    from ..errors import MissingExtraError

    raise MissingExtraError("the command line", "cli") from None

from .. import MarketplaceError
from .._version import __version__
from .access import Access
from .commands.emulator import emulator
from .connection import Connection
from .status import CommandError, Status, explain, tell, usage_error

_EPILOGUE = """\
Who asks comes from a profile or from the environment:
  marketplace-async profiles add default
  marketplace-async installed list

Exit status:
    0  done
    1  failed
    2  not understood, or something is missing: nothing was sent
    3  partly failed
    4  nobody knows whether it happened: look at the account
    5  there is something to do: see `plan`
  130  interrupted
  141  whoever read the output has gone"""

app = App(
    name="marketplace-async",
    help="Twilio's Marketplace v1 API from the command line, and an emulator of it.",
    help_format="plaintext",
    help_epilogue=_EPILOGUE,
    version=__version__,
    usage="Usage: marketplace-async COMMAND",
)

_FLEET = Group("Many accounts", sort_key=1)

# Each is imported when it is run: nobody waits for what he does not use.
_NOUNS = {
    "available": "Add-ons that can be installed: the catalogue.",
    "installed": "What is installed on the account: install, configure, remove.",
    "accounts": "The account that asks, and its subaccounts.",
    "listings": "For partners: the account's own pages in the Marketplace.",
    "referrals": "For partners: accounts that a referral brought.",
}
for _order, (_noun, _help) in enumerate(_NOUNS.items()):
    app.command(f"{__package__}.commands.{_noun}:app", name=_noun, help=_help, sort_key=_order)


_JOBS = {
    "inventory": """\
Write every installed add-on of every account to one file.

Without a file they are shown. An account that fails stops no other: it is told in the end, \
and in FILE.failures.jsonl.

What is certain is noted in FILE.journal: an inventory that was interrupted, at any moment, \
goes on with --resume, and tries again what failed. Ctrl-C finishes what has begun.""",
    "plan": """\
Show what would be done, so that the accounts are as a file says.

It changes nothing. The exit status is 0 if there is nothing to do, and 5 if there is something.

For people, the same change on several accounts is told once. JSON lines are the plans of the \
accounts one by one, and JSON is the whole in figures.""",
    "apply": """\
Do what `plan` shows: install, configure, enable and remove.

It plans, shows the plan, asks, and does what was shown. An account that fails stops no other: \
it is told in the end, and in JOURNAL.failures.jsonl.

Each write is noted in the journal before and after. Ctrl-C finishes what has begun. However it \
ended, run it again: it reads what is there, and does what is left.""",
}
for _order, (_job, _help) in enumerate(_JOBS.items()):
    app.command(
        f"{__package__}.commands.{_job}:app", name=_job, help=_help, group=_FLEET, sort_key=_order
    )
app.command(
    f"{__package__}.commands.plan:schema",
    name="schema",
    help="Show what may be in the file of `plan` and `apply`, as JSON Schema, for editors.",
    group=_FLEET,
    sort_key=len(_JOBS),
)

app.command(
    f"{__package__}.commands.profiles:app",
    name="profiles",
    help="Credentials under names of your own.",
    sort_key=len(_NOUNS),
)


@app.command(sort_key=len(_NOUNS) + 1)
async def demo(*, base_url: str | None = None) -> int:
    """Show add-ons being browsed, installed, configured, listed and removed, on three accounts.

    It starts an emulator of its own, sends nothing elsewhere, and takes a second.
    The exit status is 0 only if every step went as it should.

    Parameters
    ----------
    base_url
        Run against this server instead, such as an emulator that is running already.
        The accounts are made up, so that the real service would not let them in.
    """
    from .commands import demo as steps

    return await steps.run(base_url)


app.register_install_completion_command(
    help="Let bash, zsh or fish complete commands and options: changes its start-up file."
)
app.command(
    emulator,
    help="""\
Run an emulator of the Marketplace v1 API, for tests and for development.

When it is ready, its first line of output is its URL. Ctrl-C or SIGTERM ends it.

It keeps state, checks configurations against the schemas of its add-ons, pages, and keeps \
accounts apart. It is not the service: it bills nobody, calls no add-on, has no preview API, \
and where the vendor's documentation says nothing of an answer, it guesses. \
It is no server for the public: it has no TLS, and lets everybody in unless told otherwise.""",
    sort_key=len(_NOUNS) + 2,
)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name, and return its exit status."""
    access: Access | None = None
    try:
        if sys.stdout is None:  # as in `marketplace-async installed list >&-`
            raise CommandError("standard output is closed")
        command, bound, _ = app.parse_args(
            arguments, print_error=False, exit_on_error=False, verbose=False
        )
        bound.apply_defaults()
        for name, value in bound.arguments.items():
            if isinstance(value, Connection):
                bound.arguments[name] = value = value.resolved()
                access = value.access
        result: Any = command(*bound.args, **bound.kwargs)
        if inspect.iscoroutine(result):
            result = asyncio.run(result)
        return result if isinstance(result, int) else Status.DONE
    except cyclopts.CycloptsError as error:
        tell(_not_understood(error))
        return Status.USAGE
    except BrokenPipeError:
        return Status.CLOSED_PIPE
    except KeyboardInterrupt:
        return Status.INTERRUPTED
    except (CommandError, MarketplaceError, ValueError, OSError) as error:
        explained = explain(error, access)
        tell(explained)
        return explained.status


def _not_understood(error: cyclopts.CycloptsError) -> CommandError:
    if isinstance(error, cyclopts.UnusedCliTokensError):
        sentence = f"too many arguments: {' '.join(error.unused_tokens or ())}"
    elif (
        isinstance(error, cyclopts.MissingArgumentError)
        and (argument := error.argument) is not None
        and argument.field_info.is_positional
        and not argument.tokens
        and error.keyword is None
    ):
        # As the help calls it.
        sentence = f"{argument.name.lstrip('-').upper()} is missing"
    else:
        sentence = str(error)
    words = " ".join(("marketplace-async", *(error.command_chain or ())))
    return usage_error(sentence, f"`{words} --help` shows what it takes.")

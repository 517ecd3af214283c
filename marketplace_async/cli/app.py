"""The commands put together, and how one is run from its arguments to its exit status."""

import asyncio
import inspect
import sys
from collections.abc import Sequence
from typing import Any

import attrs

try:
    import cyclopts
    from cyclopts import App
except ModuleNotFoundError:
    from ..errors import MissingExtraError

    raise MissingExtraError("the command line", "cli") from None

from .. import MarketplaceError
from .._version import __version__
from .connection import Access, Connection
from .emulator import emulator
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

# Each is imported when it is run: nobody waits for what he does not use.
_NOUNS = {
    "available": "Add-ons that can be installed: the catalogue.",
    "installed": "What is installed on the account: install, configure, remove.",
    "accounts": "The account that asks, and its subaccounts.",
    "listings": "For partners: the account's own pages in the Marketplace.",
    "referrals": "For partners: accounts that a referral brought.",
}
for _order, (_noun, _help) in enumerate(_NOUNS.items()):
    app.command(f"{__package__}.{_noun}:app", name=_noun, help=_help, sort_key=_order)


app.command(
    f"{__package__}.profile_commands:app",
    name="profiles",
    help="Credentials under names of your own.",
    sort_key=len(_NOUNS),
)


@app.command(sort_key=len(_NOUNS) + 1)
async def demo(*, base_url: str | None = None) -> int:
    """Show add-ons being browsed, installed, configured, listed and removed, on three accounts.

    It starts an emulator of its own, sends nothing anywhere else, and takes a second. The exit
    status is 0 only if every step went as it should.

    Parameters
    ----------
    base_url
        Run against this server instead, such as an emulator that is running already. The accounts
        are made up, so that the real service would not let them in.
    """
    from . import demo as steps

    return await steps.run(base_url)


app.register_install_completion_command(
    help="Let bash, zsh or fish complete commands and options: changes its start-up file."
)
app.command(emulator, sort_key=len(_NOUNS) + 2)


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
                access = value.resolve()
                bound.arguments[name] = attrs.evolve(value, access=access)
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
    else:
        sentence = str(error)
    words = " ".join(("marketplace-async", *(error.command_chain or ())))
    return usage_error(sentence, f"`{words} --help` shows what it takes.")

"""`marketplace-async help`: topics, and the help of commands."""

from collections.abc import Callable, Mapping
from typing import Annotated, Final

from cyclopts import App, Parameter

from ..app import app as program
from ..connection import Connection
from ..fleet_accounts import Accounts
from ..help_format import full_help
from ..output import Output
from ..status import usage_error

_CONNECTION: Final = """\
Where requests go, and with which credentials.

Credentials come from the first of these that exists: the profile of --profile, the profile in \
MARKETPLACE_PROFILE, environment variables, the profile "default".

Variables: TWILIO_API_KEY and TWILIO_API_SECRET, TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN, or \
TWILIO_CLIENT_ID and TWILIO_CLIENT_SECRET. TWILIO_REGION, TWILIO_EDGE, MARKETPLACE_BASE_URL, \
MARKETPLACE_PROXY, MARKETPLACE_CA_FILE and MARKETPLACE_ALLOW_HTTP correspond to the options below.

A profile stores its secret, or names a program that prints it (secret_command). Otherwise \
commands prompt for it. `marketplace-async profiles add` adds a profile."""

_OUTPUT: Final = """\
What a command prints to standard output. Errors, notes and progress go to standard error.

table is for people: it fits the terminal, and names the columns that do not fit. json is one \
document, jsonl has one JSON value per line, csv is quoted as in RFC 4180. These have every \
field, and are UTF-8 in any locale."""

_ACCOUNTS: Final = """\
The accounts of inventory, plan and apply.

A file of accounts is CSV or JSON Lines, with account_sid and auth_token, or account_sid, api_key \
and api_secret; friendly_name and status are optional. Only you may have access to it (chmod 600). \
Standard input (-) and pipes are read once, and leave no file. \
`marketplace-async accounts check FILE` reports every bad row.

If a job is too slow, raise --concurrency; then use --processes, or --executor for a cluster. \
Workers find credentials, plan key and variables themselves."""

EXIT_STATUSES: Final = """\
Exit statuses:
    0  success
    1  failed
    2  invalid usage or missing credentials; nothing was changed
    3  partly failed, or partly skipped
    4  outcome unknown: check the account before retrying
    5  there are changes, and --detailed-exitcode was given
  129  the terminal was closed
  130  interrupted
  141  output pipe closed
  143  terminated"""


def _connection(*, connection: Connection = Connection()) -> None: ...
def _output(*, output: Output = Output()) -> None: ...
def _accounts(*, accounts: Accounts = Accounts()) -> None: ...  # noqa: B008 - frozen


# The options of a topic are those of a command that is only explained.
TOPICS: Final[Mapping[str, tuple[str, Callable[..., None] | None]]] = {
    "connection": (_CONNECTION, _connection),
    "output": (_OUTPUT, _output),
    "accounts": (_ACCOUNTS, _accounts),
    "exit-statuses": (EXIT_STATUSES, None),
}


def words_of_help(_: object) -> list[str]:
    """Return the topics and commands, for completion."""
    return [*TOPICS, *(name for name in program if not name.startswith("-"))]


def show_help(*words: Annotated[str, Parameter(completer=words_of_help)]) -> None:
    """Explain a topic or a command.

    Parameters
    ----------
    words
        A topic (connection, output, accounts or exit-statuses), or the words of a command.
    """
    if not words:
        program.help_print([])
    elif len(words) == 1 and words[0] in TOPICS:
        _show_topic(words[0])
    else:
        _, _, rest = program.parse_commands(words)
        if rest or words[-1].startswith("-"):
            raise usage_error(
                f"no topic or command {' '.join(words)!r}", f"Topics: {', '.join(TOPICS)}."
            )
        program.help_print(words)


def _show_topic(name: str) -> None:
    text, options = TOPICS[name]
    if options is None:
        program.console.print(text, markup=False, highlight=False)
        return
    flags: tuple[str, ...] = ()
    topic = App(
        name=name,
        help=text,
        usage="",
        help_format="plaintext",
        help_flags=flags,
        version_flags=flags,
        default_command=options,
    )
    with full_help(*(["Connection"] if name != "connection" else [])):
        topic.help_print([], console=program.console)

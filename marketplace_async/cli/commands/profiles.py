"""`marketplace-async profiles`: manage named credentials."""

import os
import sys
from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

import attrs
from cyclopts import App, Parameter

import marketplace_async as sdk

from .. import profiles, prompts, secret_commands
from ..connection import GROUP as CONNECTION, profile_names
from ..options import Flag, Yes
from ..output import Output
from ..profiles import ACCOUNT_TOKEN, API_KEY, KINDS, OAUTH_APP, Profile
from ..status import CommandError, Status, note, usage_error

app: App = App(
    name="profiles",
    help_epilogue="""\
Examples:
  marketplace-async profiles add work
  marketplace-async installed list --profile work
  MARKETPLACE_PROFILE=work marketplace-async installed list

The profile "default" is used if no profile is named and no credentials are set
in environment variables. `marketplace-async profiles list` shows the file.""",
)

_Shared: TypeAlias = Annotated[str | None, Parameter(group=CONNECTION)]

_ADDRESS = ("region", "edge", "base_url", "proxy", "ca_file", "allow_http")
_FIELDS = ("name", "kind", "sid", "secret", *_ADDRESS, "file")


@app.command(name="list")
async def list_(*, output: Output = Output()) -> None:
    """List the profiles without their secrets, and show the file that contains them.

    If a profile is invalid, lists the others, and the exit status is 3.
    """
    from ..._core.threads import to_daemon_thread

    file = profiles.profiles_file()
    known = await to_daemon_thread(profiles.load, file)
    async with output.listing(_FIELDS, _FIELDS[:7]) as show:
        await show([_without_secret(profile) for profile in known.values()])
    if output.format == "table":
        note(f"profiles are stored in {file}" if known else f"no profiles in {file}")
    problems = [str(problem) for profile in known.values() if (problem := _problem_of(profile))]
    if problems:
        raise CommandError(
            f"{len(problems)} of {len(known)} profiles cannot be used",
            status=Status.PARTLY_FAILED if len(problems) < len(known) else Status.FAILED,
            details=problems,
        )


def _problem_of(profile: Profile) -> CommandError | None:
    try:
        _ = profile.kind
    except CommandError as problem:
        return problem
    return None


def _without_secret(profile: Profile) -> Mapping[str, Any]:
    if _problem_of(profile) is not None:
        return {"name": profile.name, "kind": "invalid", "file": str(profile.file)}
    settings = {name: profile.settings.get(name) for name in _ADDRESS}
    settings["proxy"] = profile.proxy_address
    return {
        "name": profile.name,
        "kind": profile.kind.name,
        "sid": profile.sid,
        "secret": _where(profile),
        **settings,
        "file": str(profile.file),
    }


def _where(profile: Profile) -> str:
    if profile.secret_command is not None:
        return "command"
    return "stored" if profile.secret else "prompt"


@app.command(
    help_epilogue="""\
Examples:
  marketplace-async profiles add work
  marketplace-async profiles add ci --api-key SK... --secret-command "pass show ci"
  marketplace-async profiles add sydney --api-key SK... --region au1
  pass twilio | marketplace-async profiles add ci --api-key SK... --secret-stdin
  marketplace-async profiles add local --base-url http://127.0.0.1:8912"""
)
def add(
    name: str,
    /,
    *,
    account_sid: str | None = None,
    api_key: str | None = None,
    client_id: str | None = None,
    secret_stdin: Flag = False,
    secret_command: str | None = None,
    no_secret: Flag = False,
    region: _Shared = None,
    edge: _Shared = None,
    base_url: _Shared = None,
    proxy: _Shared = None,
    ca_file: _Shared = None,
    allow_http: Annotated[Flag, Parameter(group=CONNECTION)] = False,
    replace: Flag = False,
) -> None:
    """Add a profile. Prompts for missing values; a secret is never an argument.

    Parameters
    ----------
    name
        The name of the profile. The profile "default" is used if no other is named.
    account_sid
        The SID of an account, AC..., to use with its auth token.
        With an API key or OAuth app, the account that it belongs to.
    api_key
        The SID of an API key, SK... Twilio recommends API keys.
    client_id
        The client ID of an OAuth app, OQ...
    secret_stdin
        Read the secret (auth token, API key secret or client secret) from standard input.
    secret_command
        Do not store the secret; each command runs this program, which prints it on one line.
    no_secret
        Do not store the secret; each command prompts for it.
    region
        The Twilio region, such as au1.
    edge
        The Twilio edge location, such as sydney.
    base_url
        Send requests to this URL instead of Twilio, such as an emulator.
    proxy
        The URL of an HTTP proxy. If it has a password, add it to the file by hand instead.
    ca_file
        Trust the CAs in this PEM file, and no others.
    allow_http
        Allow a base URL with plain http on another host, or through a proxy.
        Credentials are sent unencrypted.
    replace
        Replace an existing profile.
    """
    file = profiles.profiles_file()
    if not name.strip():
        raise usage_error("the name of the profile must not be blank")
    if secret_stdin + no_secret + (secret_command is not None) > 1:
        raise usage_error("pass at most one of --secret-stdin, --secret-command and --no-secret")
    if not replace:
        profiles.check_new(name, file, profiles.load(file))
    values = {
        ACCOUNT_TOKEN.sid: account_sid,
        API_KEY.sid: api_key,
        OAUTH_APP.sid: client_id,
        secret_commands.NAME: secret_command,
        "region": region,
        "edge": edge,
        "base_url": base_url,
        "proxy": None if proxy is None else sdk.Secret(proxy),
        "ca_file": None if ca_file is None else os.path.abspath(ca_file),
        "allow_http": allow_http or None,
    }
    profile = Profile(
        name, file, {key: value for key, value in values.items() if value is not None}
    )
    try:
        if not any(kind.sid in profile.settings for kind in KINDS):
            profile = _ask_for_sid(profile)
        profile.check()  # before the prompt for the secret
        if not no_secret and secret_command is None:
            secret = _secret(profile, from_stdin=secret_stdin)
            profile = _with(profile, profile.kind.secret, secret)
    finally:
        prompts.discard_input()  # a secret that was pasted too early
    profiles.save(profile, replace=replace)
    note(f"Saved {profile}. Try: marketplace-async available list --profile {name}")


def _with(profile: Profile, setting: str, value: "str | sdk.Secret") -> Profile:
    return attrs.evolve(profile, settings={**profile.settings, setting: value})


def _secret(profile: Profile, *, from_stdin: bool) -> "sdk.Secret":
    name = f"{profile.kind.secret} of {profile.sid}"

    def ask() -> "sdk.Secret":
        return _checked(prompts.ask_secret(f"{name} (input hidden): "), name)

    if from_stdin:
        return _checked(sys.stdin.readline().strip(), name)
    if not prompts.is_interactive():
        raise usage_error(
            f"no terminal to prompt for the {name}",
            "Use --secret-stdin, --secret-command or --no-secret.",
        )
    return prompts.ask_until_valid(ask)


def _checked(text: str, name: str) -> "sdk.Secret":
    if not text:
        raise usage_error(f"expected the {name}, got nothing")
    return sdk.Secret(text)


def _ask_for_sid(profile: Profile) -> Profile:
    """Return the profile with the SID that the user enters."""
    if not prompts.is_interactive():
        raise usage_error("expected one of --account-sid, --api-key and --client-id")
    # The other settings are checked first: the prompt can only correct a SID.
    _with(profile, ACCOUNT_TOKEN.sid, f"{ACCOUNT_TOKEN.prefix}{'0' * 32}").check()

    def ask() -> Profile:
        # The reply may be a secret by mistake: no message shows it.
        sid = prompts.ask("Account SID (AC...), API key (SK...) or OAuth client ID (OQ...): ")
        kind = next((kind for kind in KINDS if sid.startswith(kind.prefix)), None)
        if kind is None:
            raise usage_error(f"expected AC..., SK... or OQ..., got {len(sid)} characters")
        named = _with(profile, kind.sid, sid)
        named.credentials(sdk.Secret("placeholder"))
        return named

    return prompts.ask_until_valid(ask)


@app.command
async def delete(
    name: Annotated[str, Parameter(completer=profile_names)], /, *, yes: Yes = False
) -> None:
    """Delete a profile, after confirmation.

    Parameters
    ----------
    name
        The name of the profile.
    """
    from ..._core.threads import to_daemon_thread

    file = profiles.profiles_file()
    profile = (await to_daemon_thread(profiles.load, file)).get(name)
    if profile is None:
        raise CommandError(f'no profile "{name}" in {file}')
    await prompts.confirm(f"Delete {profile}", yes=yes)
    await to_daemon_thread(profiles.remove, profile)

"""Resolves connection options: reads credentials and options from the environment and profiles."""

import os
from collections.abc import Iterable, Mapping
from typing import Final

from .. import ClientOptions, Credentials, Secret
from .._core.network import allows_http, trusting
from ..credentials import from_env
from . import profiles, prompts, secret_commands
from .access import Access
from .connection import Connection
from .profiles import ACCOUNT_TOKEN, API_KEY, KINDS, OAUTH_APP, Kind, Profile
from .status import usage_error

PROFILE_VARIABLE: Final = "MARKETPLACE_PROFILE"
DEFAULT_PROFILE: Final = "default"

_VARIABLES: Final = {
    ACCOUNT_TOKEN: ("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"),
    API_KEY: ("TWILIO_API_KEY", "TWILIO_API_SECRET"),
    OAUTH_APP: ("TWILIO_CLIENT_ID", "TWILIO_CLIENT_SECRET"),
}
_ADDRESS_VARIABLES: Final = {
    "region": "TWILIO_REGION",
    "edge": "TWILIO_EDGE",
    "base_url": "MARKETPLACE_BASE_URL",
    "proxy": "MARKETPLACE_PROXY",
    "ca_file": "MARKETPLACE_CA_FILE",
}
# Read by the client, which knows what they apply to.
_READ_BY_CLIENT: Final = ("MARKETPLACE_PROXY", "MARKETPLACE_CA_FILE")


def resolve(
    connection: Connection, environ: Mapping[str, str] = os.environ, *, may_prompt: bool = True
) -> Access:
    """Read the credentials and options; run `secret_command`, or prompt for a secret.

    Credentials come from the first of these: the profile of `--profile`, the profile of
    `MARKETPLACE_PROFILE`, the environment, the profile `default`. Each option comes from its
    command-line option, the named profile, the environment or the profile `default`, in this
    order.

    Args:
        connection: The connection options of the command.
        environ: The environment variables.
        may_prompt: Whether a user can be asked for a secret.

    Raises:
        CommandError: There are no credentials, or a source is invalid.
    """
    options, sources = client_options(connection, environ)
    profile, _ = _profile(connection, environ)
    if profile is not None:
        credentials, source = _from_profile(profile, may_prompt)
    else:
        kind = _kind_in(environ)
        if kind is None:
            raise usage_error("no credentials found", _NO_CREDENTIALS_HINT)
        credentials, source = _from_environment(environ, kind, may_prompt)
    return Access(credentials, source, options, sources)


def client_options(
    connection: Connection, environ: Mapping[str, str] = os.environ
) -> tuple[ClientOptions, Mapping[str, str]]:
    """Return the options of the client except its credentials, and where each was read."""
    profile, named = _profile(connection, environ)
    options: ClientOptions = {"trust_env": True}
    sources: dict[str, str] = {}
    for name, variable in _ADDRESS_VARIABLES.items():
        from_profile = (profile and profile.settings.get(name), str(profile))
        from_variable = (environ.get(variable, "").strip(), variable)
        for value, source in (
            (getattr(connection, name), f"--{name.replace('_', '-')}"),
            *((from_profile, from_variable) if named else (from_variable, from_profile)),
        ):
            if value:
                sources[name] = source
                if name == "ca_file" and source != variable:
                    options["ssl"] = trusting(str(value), source)
                elif source not in _READ_BY_CLIENT:
                    text = value.reveal() if isinstance(value, Secret) else value
                    options[name] = text  # type: ignore[literal-required]
                break
    for name in ("region", "edge"):
        if "base_url" in options and sources.get(name, "").startswith("--"):
            raise usage_error(
                f"--{name} cannot be combined with a base URL (set by {sources['base_url']})"
            )
    in_profile = profile is not None and profile.settings.get("allow_http")
    if connection.allow_http or in_profile or allows_http(environ):
        options["allow_http"] = True
    if connection.timeout is not None:
        options["timeout"] = connection.timeout
    return options, sources


def named_profile(connection: Connection, environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the name of the profile that was named for a command, or None."""
    return connection.profile or environ.get(PROFILE_VARIABLE, "").strip() or None


def _profile(connection: Connection, environ: Mapping[str, str]) -> tuple[Profile | None, bool]:
    """Return the profile to use, if any, and whether it was named explicitly."""
    option = connection.profile
    named_by = "--profile" if option is not None else PROFILE_VARIABLE
    name = environ.get(PROFILE_VARIABLE, "").strip() if option is None else option
    file = profiles.profiles_file(environ)
    if name or option is not None:
        known = profiles.load(file)
        if name not in known:
            names = f"Profiles: {', '.join(known)}." if known else "There are no profiles yet."
            raise usage_error(
                f'{named_by}: no profile "{name}" in {file}', f"{names} {profiles.ADD_HINT}"
            )
        return known[name], True
    if _kind_in(environ) is not None:
        return None, False
    return profiles.load(file).get(DEFAULT_PROFILE), False


_NO_CREDENTIALS_HINT = (
    "Save them with `marketplace-async profiles add default`, or set TWILIO_API_KEY and "
    "TWILIO_API_SECRET, or TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN."
)


def _kind_in(environ: Mapping[str, str]) -> Kind | None:
    return next((kind for kind in KINDS if _any_set(environ, _VARIABLES[kind])), None)


def _any_set(environ: Mapping[str, str], variables: Iterable[str]) -> bool:
    return any(environ.get(variable, "").strip() for variable in variables)


# Malformed SIDs are rejected before they appear in a prompt: one may be the secret itself.
_PLACEHOLDER = Secret("not entered yet")


def _from_profile(profile: Profile, may_prompt: bool) -> tuple[Credentials, str]:
    if profile.secret is not None:
        return profile.credentials(profile.secret), str(profile)
    profile.credentials(_PLACEHOLDER)
    if profile.secret_command is not None:
        secret = secret_commands.read(profile.secret_command, str(profile))
        return profile.credentials(secret), f"{profile}, with the secret of its secret_command"
    prompt = f"{profile.kind.secret} of {profile.sid}"
    secret = _prompt_for_secret(prompt, f"{profile} has no secret", may_prompt)
    return profile.credentials(secret), f"{profile}, with a secret entered at the prompt"


def _from_environment(
    environ: Mapping[str, str], kind: Kind, may_prompt: bool
) -> tuple[Credentials, str]:
    sid, secret = _VARIABLES[kind]
    if not _any_set(environ, [sid]) or _any_set(environ, [secret]):
        return from_env(environ).credentials, f"{sid} and {secret}"
    from_env({**environ, secret: _PLACEHOLDER.reveal()})
    prompt = f"{secret} of {environ[sid].strip()}"
    entered = _prompt_for_secret(prompt, f"{sid} is set without {secret}", may_prompt)
    environ = {**environ, secret: entered.reveal()}
    return from_env(environ).credentials, f"{sid}, with a secret entered at the prompt"


def _prompt_for_secret(prompt: str, reason: str, may_prompt: bool) -> Secret:
    if not (may_prompt and prompts.is_interactive()):
        raise usage_error(f"{reason}, and there is no terminal to prompt for it")
    try:
        text = prompts.ask_secret(f"{prompt}: ")
    except EOFError:
        text = ""
    if not text:
        raise usage_error("no secret was entered")
    return Secret(text)

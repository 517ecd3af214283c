"""`marketplace-async profiles`: shows, adds and deletes what `profiles` keeps."""

import sys
from collections.abc import Mapping
from typing import Any

import attrs
from cyclopts import App

from ... import Secret
from ..._core.threads import to_daemon_thread
from .. import profiles, prompts
from ..flags import Flag, Yes
from ..output import Output
from ..profiles import ACCOUNT_TOKEN, API_KEY, KINDS, OAUTH_APP, Profile
from ..status import CommandError, note, usage_error

app = App(
    name="profiles",
    help_epilogue="""\
Examples:
  marketplace-async profiles add work
  marketplace-async installed list --profile work
  MARKETPLACE_PROFILE=work marketplace-async installed list

The profile called default is used where no other is named, and the environment
has no credentials. `marketplace-async profiles list` tells where the file is.""",
)

_FIELDS = ("name", "kind", "sid", "secret", "region", "edge", "base_url", "allow_http", "file")


@app.command(name="list")
async def list_(*, output: Output = Output()) -> None:
    """List the profiles, without their secrets, and where they are kept."""
    file = profiles.profiles_file()
    known = await to_daemon_thread(profiles.load, file)
    async with output.listing(_FIELDS, _FIELDS[:7]) as show:
        await show([_shown(profile) for profile in known.values()])
    if output.format == "table":
        note(f"they are kept in {file}" if known else f"there are none in {file}")


def _shown(profile: Profile) -> Mapping[str, Any]:
    settings = {name: profile.settings.get(name) for name in _FIELDS[4:8]}
    return {
        "name": profile.name,
        "kind": profile.kind.name,
        "sid": profile.sid,
        "secret": "in the file" if profile.secret else "asked for",
        **settings,
        "file": str(profile.file),
    }


@app.command(
    help_epilogue="""\
Examples:
  marketplace-async profiles add work
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
    no_secret: Flag = False,
    region: str | None = None,
    edge: str | None = None,
    base_url: str | None = None,
    allow_http: Flag = False,
    replace: Flag = False,
) -> None:
    """Add a profile. What is not given is asked for, and the secret is never an argument.

    Parameters
    ----------
    name
        How to call it; the one called default is used where no other is named.
    account_sid
        The account, AC...: with its auth token, or beside an API key or an OAuth app.
    api_key
        The SID of an API key, SK...: what the vendor recommends.
    client_id
        The client ID of an OAuth app, OQ...
    secret_stdin
        Read the secret (auth token, API key secret or client secret) from standard input.
    no_secret
        Keep no secret: it is asked for each time.
    region
        The vendor's region, such as au1.
    edge
        The vendor's edge location, such as sydney.
    base_url
        What stands for the vendor's hosts, such as an emulator.
    allow_http
        Let credentials travel unencrypted, to a base URL of plain http that is not on this machine.
    replace
        Replace a profile of that name.
    """
    file = profiles.profiles_file()
    if not name.strip():
        raise usage_error("expected a name for the profile, got none")
    if name in profiles.load(file) and not replace:
        raise usage_error(f"there is a profile {name} in {file}", "--replace replaces it.")
    given = {
        ACCOUNT_TOKEN.sid: account_sid,
        API_KEY.sid: api_key,
        OAUTH_APP.sid: client_id,
        "region": region,
        "edge": edge,
        "base_url": base_url,
        "allow_http": allow_http or None,
    }
    settings = {key: value for key, value in given.items() if value is not None}
    if not any(kind.sid in settings for kind in KINDS):
        sid = _asked("Account SID (AC...), API key (SK...) or OAuth client ID (OQ...): ")
        kind = next((kind for kind in KINDS if sid.startswith(kind.prefix)), ACCOUNT_TOKEN)
        settings[kind.sid] = sid
    profile = Profile(name, file, settings)
    # Before anything is asked: what is wrong with a SID or a place.
    profile.check()
    if not no_secret:
        secret = _secret(profile, from_stdin=secret_stdin)
        profile = attrs.evolve(profile, settings={**settings, profile.kind.secret: secret})
    profiles.save(profile)
    note(f"{profile} is there. Try it: marketplace-async available list --profile {name}")


def _secret(profile: Profile, *, from_stdin: bool) -> Secret:
    what = f"{profile.kind.secret} of {profile.sid}"
    if from_stdin:
        text = sys.stdin.readline().strip()
    elif prompts.somebody_is_there():
        text = prompts.ask_secret(f"{what} (it is not shown): ")
    else:
        raise usage_error(f"nobody is there to type the {what}", "--secret-stdin reads it.")
    if not text:
        raise usage_error(f"expected the {what}, got nothing")
    return Secret(text)


def _asked(question: str) -> str:
    if not prompts.somebody_is_there():
        raise usage_error(
            "nobody is there to ask whose profile it is to be",
            "Give --account-sid, --api-key or --client-id.",
        )
    return prompts.ask(question)


@app.command
async def delete(name: str, /, *, yes: Yes = False) -> None:
    """Delete a profile. It asks first.

    Parameters
    ----------
    name
        Its name.
    yes
        Do not ask; needed where nobody is there to be asked.
    """
    file = profiles.profiles_file()
    profile = (await to_daemon_thread(profiles.load, file)).get(name)
    if profile is None:
        raise CommandError(f"there is no profile {name} in {file}")
    await prompts.confirm(f"Delete {profile}", yes=yes)
    await to_daemon_thread(profiles.remove, profile)

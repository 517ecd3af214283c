"""Who asks, and where: options, environment and profiles become a client."""

import os
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Final, Self

import attrs
from cyclopts import Group, Parameter

from .. import Credentials, MarketplaceClient, Secret
from ..client import ClientOptions
from ..credentials import from_env
from . import profiles, prompts
from .access import Access
from .flags import Flag
from .profiles import ACCOUNT_TOKEN, API_KEY, KINDS, OAUTH_APP, Kind, Profile
from .status import usage_error

PROFILE_VARIABLE: Final = "MARKETPLACE_PROFILE"
DEFAULT_PROFILE: Final = "default"

_VARIABLES: Final = {
    ACCOUNT_TOKEN: ("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"),
    API_KEY: ("TWILIO_API_KEY", "TWILIO_API_SECRET"),
    OAUTH_APP: ("TWILIO_CLIENT_ID", "TWILIO_CLIENT_SECRET"),
}
_PLACES: Final = {
    "region": "TWILIO_REGION",
    "edge": "TWILIO_EDGE",
    "base_url": "MARKETPLACE_BASE_URL",
}


@Parameter(name="*", group=Group("Connection", sort_key=8))
@attrs.frozen(kw_only=True)
class Connection:
    """Who asks, and where.

    Parameters
    ----------
    profile
        The profile to use: see `marketplace-async profiles --help`.
    region
        The vendor's region, such as au1.
    edge
        The vendor's edge location, such as sydney.
    base_url
        What stands for the vendor's hosts, such as an emulator.
    allow_http
        Let credentials travel unencrypted, to a base URL of plain http that is not on this machine.
    timeout
        Seconds for each try; 10 unless given.
    """

    profile: str | None = None
    region: str | None = None
    edge: str | None = None
    base_url: str | None = None
    allow_http: Flag = False
    timeout: float | None = None
    access: Annotated[Access | None, Parameter(parse=False)] = None

    def resolve(self, environ: Mapping[str, str] = os.environ) -> Access:
        """Find out who asks, and where; asks for a secret that is nowhere if somebody is there.

        The credentials are those of the profile that `--profile` names, or `MARKETPLACE_PROFILE`,
        or else those of the environment, or else those of the profile `default`. Each of the rest
        is what its option says, or that profile, or the environment. The profile `default` comes
        last.

        Raises:
            CommandError: There are no credentials, or something is wrong with what was read.
        """
        options, sources = self.options(environ)
        profile, _ = self._profile(environ)
        if profile is not None:
            credentials, source = _of_profile(profile)
        else:
            kind = _kind_in(environ)
            if kind is None:
                raise usage_error("there are no credentials", _NO_CREDENTIALS)
            credentials, source = _of_environment(environ, kind)
        return Access(credentials, source, options, sources)

    def resolved(self) -> Self:
        """Return it with who asks, and where: see `resolve`."""
        return attrs.evolve(self, access=self.resolve())

    def options(
        self, environ: Mapping[str, str] = os.environ
    ) -> tuple[ClientOptions, Mapping[str, str]]:
        """Find out all that a client takes but credentials, and where each was read."""
        profile, named = self._profile(environ)
        options: ClientOptions = {}
        sources: dict[str, str] = {}
        for name, variable in _PLACES.items():
            of_profile = (profile and profile.settings.get(name), str(profile))
            of_environment = (environ.get(variable, "").strip(), variable)
            for value, where in (
                (getattr(self, name), f"--{name.replace('_', '-')}"),
                *((of_profile, of_environment) if named else (of_environment, of_profile)),
            ):
                if value:
                    options[name] = value  # type: ignore[literal-required]  # of _PLACES
                    sources[name] = where
                    break
        for name in ("region", "edge"):
            if "base_url" in options and sources.get(name, "").startswith("--"):
                raise usage_error(
                    f"--{name} changes nothing where there is a base URL, and there is one from "
                    f"{sources['base_url']}"
                )
        if self.allow_http or (profile and profile.settings.get("allow_http")):
            options["allow_http"] = True
        if self.timeout is not None:
            options["timeout"] = self.timeout
        return options, sources

    def _profile(self, environ: Mapping[str, str]) -> tuple[Profile | None, bool]:
        """Return the profile that counts, if one does, and whether it was named."""
        by = "--profile" if self.profile is not None else PROFILE_VARIABLE
        name = environ.get(PROFILE_VARIABLE, "").strip() if self.profile is None else self.profile
        file = profiles.profiles_file(environ)
        if name or self.profile is not None:
            known = profiles.load(file)
            if name not in known:
                there = f"There are: {', '.join(known)}." if known else "There is none yet."
                raise usage_error(
                    f"{by}: there is no profile {name!r} in {file}",
                    f"{there} {profiles.ADD_HINT}",
                )
            return known[name], True
        if _kind_in(environ) is not None:
            return None, False
        return profiles.load(file).get(DEFAULT_PROFILE), False

    @asynccontextmanager
    async def client(self) -> AsyncIterator[MarketplaceClient]:
        """Give a client of what was resolved; it is closed in the end."""
        access = self.access
        if access is None:
            raise RuntimeError("the connection is not resolved yet")
        async with MarketplaceClient(access.credentials, **access.options) as client:
            yield client


_NO_CREDENTIALS = (
    "`marketplace-async profiles add default` keeps them in a file; or set TWILIO_API_KEY and "
    "TWILIO_API_SECRET, or TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN."
)


def _kind_in(environ: Mapping[str, str]) -> Kind | None:
    return next((kind for kind in KINDS if _any_set(environ, _VARIABLES[kind])), None)


def _any_set(environ: Mapping[str, str], variables: Iterable[str]) -> bool:
    return any(environ.get(variable, "").strip() for variable in variables)


def _of_profile(profile: Profile) -> tuple[Credentials, str]:
    secret = profile.secret
    if secret is not None:
        return profile.credentials(secret), str(profile)
    profile.credentials(_UNTYPED)
    secret = _typed(f"{profile.kind.secret} of {profile.sid}", str(profile))
    return profile.credentials(secret), f"{profile}, with a secret that was typed"


def _of_environment(environ: Mapping[str, str], kind: Kind) -> tuple[Credentials, str]:
    sid, secret = _VARIABLES[kind]
    if not _any_set(environ, [sid]) or _any_set(environ, [secret]):
        return from_env(environ).credentials, f"{sid} and {secret}"
    from_env({**environ, secret: _UNTYPED.reveal()})
    typed = _typed(f"{secret} of {environ[sid].strip()}", f"{sid} is set alone")
    environ = {**environ, secret: typed.reveal()}
    return from_env(environ).credentials, f"{sid}, with a secret that was typed"


# What is no SID is refused before it is shown in a question: it might be the secret.
_UNTYPED = Secret("not typed yet")


def _typed(what: str, where: str) -> Secret:
    if not prompts.somebody_is_there():
        raise usage_error(f"the secret is missing, and nobody is there to type it: {where}")
    text = prompts.ask_secret(f"{what}: ")
    if not text:
        raise usage_error("no secret was typed")
    return Secret(text)

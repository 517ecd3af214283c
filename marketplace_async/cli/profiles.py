"""Named profiles: credentials and places, in a TOML file that only its owner can read."""

import os
import stat
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import attrs

from .. import AccountToken, ApiKey, ClientCredentials, Credentials, MarketplaceClient, Secret
from .status import usage_error

PATH_VARIABLE: Final = "MARKETPLACE_PROFILES"
ADD_HINT: Final = "`marketplace-async profiles add NAME` makes a profile."


@attrs.frozen
class Kind:
    """A kind of credentials: what its SID and its secret are called, and how to make them."""

    name: str
    sid: str
    secret: str
    prefix: str
    make: type[AccountToken] | type[ApiKey] | type[ClientCredentials]


ACCOUNT_TOKEN: Final = Kind("account token", "account_sid", "auth_token", "AC", AccountToken)
API_KEY: Final = Kind("API key", "api_key", "api_secret", "SK", ApiKey)
OAUTH_APP: Final = Kind("OAuth app", "client_id", "client_secret", "OQ", ClientCredentials)
KINDS: Final = (API_KEY, OAUTH_APP, ACCOUNT_TOKEN)

_SECRETS: Final = {kind.secret for kind in KINDS}
_FLAGS: Final = {"allow_http"}
_PLACES: Final = {"region", "edge", "base_url", *_FLAGS}
_TEXTS: Final = {*(kind.sid for kind in KINDS), *_SECRETS, *_PLACES} - _FLAGS

Settings: TypeAlias = Mapping[str, str | bool | Secret]


@attrs.frozen
class Profile:
    """A table of the file.

    Attributes:
        name: Its name.
        file: Where it stands.
        settings: What it sets; secrets as `Secret`.
    """

    name: str
    file: Path
    settings: Settings

    def __str__(self) -> str:
        return f"the profile {self.name} in {self.file}"

    @property
    def kind(self) -> Kind:
        """The kind of credentials that it holds."""
        given = [
            kind for kind in KINDS if kind.sid in self.settings or kind.secret in self.settings
        ]
        # The account of an API key or of an OAuth app may be named, too.
        if given[1:] == [ACCOUNT_TOKEN] and ACCOUNT_TOKEN.secret not in self.settings:
            given.pop()
        if len(given) != 1:
            expected = ", or ".join(f"{kind.sid} and {kind.secret}" for kind in KINDS)
            raise usage_error(f"{self}: expected {expected}")
        (kind,) = given
        if kind.sid not in self.settings:
            raise usage_error(f"{self}: {kind.sid} is missing")
        return kind

    @property
    def sid(self) -> str:
        """The SID of its account, API key or OAuth app."""
        return str(self.settings[self.kind.sid])

    @property
    def secret(self) -> Secret | None:
        """The secret, or None: then it is asked for."""
        secret = self.settings.get(self.kind.secret)
        return secret if isinstance(secret, Secret) else None

    def check(self) -> None:
        """Raise a CommandError if a SID or a place in it is malformed."""
        credentials = self.credentials(Secret("not the real one"))
        places = {name: self.settings[name] for name in _PLACES & self.settings.keys()}
        try:
            MarketplaceClient(credentials, **places)  # type: ignore[arg-type]  # checked there
        except ValueError as error:
            raise usage_error(f"{self}: {error}") from None

    def credentials(self, secret: Secret) -> Credentials:
        """Return its credentials with this secret.

        Raises:
            CommandError: A SID is malformed.
        """
        kind = self.kind
        account_sid = self.settings.get(ACCOUNT_TOKEN.sid)
        try:
            if kind is ACCOUNT_TOKEN:
                return AccountToken(self.sid, secret)
            maker = ApiKey if kind is API_KEY else ClientCredentials
            return maker(self.sid, secret, None if account_sid is None else str(account_sid))
        except ValueError as error:
            raise usage_error(f"{self}: {error}") from None


def profiles_file(environ: Mapping[str, str] = os.environ) -> Path:
    """Return where the profiles are: where `MARKETPLACE_PROFILES` says, or the platform's place."""
    path = environ.get(PATH_VARIABLE)
    if path:
        return Path(path)
    from platformdirs import user_config_path

    return user_config_path("marketplace-async", appauthor=False) / "profiles.toml"


def load(file: Path) -> dict[str, Profile]:
    """Return the profiles of a file by name; none if there is no file.

    Raises:
        CommandError: Others can read it, or it is not what a file of profiles is.
    """
    try:
        with file.open("rb") as stream:
            _check_private(file, os.fstat(stream.fileno()))
            document = tomllib.load(stream)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise usage_error(f"the profiles cannot be read: {error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise usage_error(f"{file} is not TOML: {error}") from None
    return {name: _profile(name, file, table) for name, table in document.items()}


def _check_private(file: Path, status: os.stat_result) -> None:
    if os.name != "posix":
        return
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise usage_error(
            f"{file} holds secrets, and others can read it (its mode is "
            f"{stat.S_IMODE(status.st_mode):04o})",
            f"chmod 600 '{file}'",
        )
    if status.st_uid not in (os.geteuid(), 0):
        raise usage_error(f"{file} belongs to somebody else (the user {status.st_uid})")


def _profile(name: str, file: Path, table: Any) -> Profile:
    if not isinstance(table, dict):
        raise usage_error(
            f"{file}: {name} stands outside of a profile", "A profile begins with its [name]."
        )
    settings: dict[str, str | bool | Secret] = {}
    for key, value in table.items():
        where = f"{file}: {name}.{key}"
        if key in _FLAGS:
            if not isinstance(value, bool):
                raise usage_error(f"{where}: expected true or false")
            settings[key] = value
        elif key in _TEXTS:
            # The value is not shown: it may be a secret, or one in the wrong place.
            if not isinstance(value, str) or not value.strip():
                raise usage_error(f"{where}: expected text that is not empty")
            settings[key] = Secret(value) if key in _SECRETS else value
        else:
            known = ", ".join(sorted(_TEXTS | _FLAGS))
            raise usage_error(f"{where}: there is no such setting", f"There are {known}.")
    return Profile(name, file, settings)


def save(profile: Profile) -> None:
    """Write a profile into its file, beside what else is there, whole or not at all.

    Raises:
        CommandError: The file is not what a file of profiles is, or cannot be written.
    """
    _rewrite(profile.file, profile.name, profile.settings)


def remove(profile: Profile) -> None:
    """Take a profile out of its file, whole or not at all."""
    _rewrite(profile.file, profile.name, None)


def _rewrite(file: Path, name: str, settings: Settings | None) -> None:
    # Unlike the standard library, it writes, and keeps the comments that people put there.
    import tomlkit

    load(file)  # what cannot be read is not written over
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        document = tomlkit.parse(file.read_bytes() if file.exists() else b"")
        document.pop(name, None)
        if settings is not None:
            table = tomlkit.table()
            for key, value in settings.items():
                table[key] = value.reveal() if isinstance(value, Secret) else value
            document[name] = table
        _write_whole(file, tomlkit.dumps(document).encode())
    except OSError as error:
        raise usage_error(f"the profiles cannot be written: {error}") from None


def _write_whole(file: Path, content: bytes) -> None:
    file = file.resolve()  # a link, such as into a folder of dotfiles, stays one
    # A file that mkstemp makes is readable by its owner alone from the start.
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise

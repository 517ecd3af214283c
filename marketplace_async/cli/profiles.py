"""Named profiles: credentials and connection settings in a private TOML file."""

import os
import stat
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs

import marketplace_async as sdk

from . import secret_commands
from .status import CommandError, usage_error

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

    from .. import fleet

PATH_VARIABLE: Final = "MARKETPLACE_PROFILES"
ADD_HINT: Final = "`marketplace-async profiles add NAME` adds one."


@attrs.frozen
class Kind:
    """A kind of credentials, and the names of its SID and secret in a profile."""

    name: str
    sid: str
    secret: str
    prefix: str


ACCOUNT_TOKEN: Final = Kind("account token", "account_sid", "auth_token", "AC")
API_KEY: Final = Kind("API key", "api_key", "api_secret", "SK")
OAUTH_APP: Final = Kind("OAuth app", "client_id", "client_secret", "OQ")
KINDS: Final = (API_KEY, OAUTH_APP, ACCOUNT_TOKEN)

# The URL of a proxy may hold its password.
_SECRETS: Final = {*(kind.secret for kind in KINDS), "proxy"}
_FLAGS: Final = {"allow_http"}
_ADDRESS: Final = {"region", "edge", "base_url", "proxy", "ca_file", *_FLAGS}
_STRINGS: Final = {
    *(kind.sid for kind in KINDS),
    *_SECRETS,
    *_ADDRESS,
    secret_commands.NAME,
} - _FLAGS

_LOCK_SECONDS: Final[float] = 10.0

Settings: TypeAlias = "Mapping[str, str | bool | sdk.Secret]"


@attrs.frozen
class Profile:
    """A profile: one table of the file.

    Attributes:
        name: The name of the profile.
        file: The file that contains it.
        settings: Its settings, with secrets as `Secret`.
        problem: Why the profile cannot be used; None if nothing is known to be wrong.
    """

    name: str
    file: Path
    settings: Settings
    problem: CommandError | None = None

    def __str__(self) -> str:
        return f'profile "{self.name}" in {self.file}'

    @property
    def kind(self) -> Kind:
        """The kind of its credentials. Raises CommandError if the profile cannot be used."""
        if self.problem is not None:
            raise self.problem
        kinds = [
            kind for kind in KINDS if kind.sid in self.settings or kind.secret in self.settings
        ]
        # An API key or OAuth app may also name its account.
        if kinds[1:] == [ACCOUNT_TOKEN] and ACCOUNT_TOKEN.secret not in self.settings:
            kinds.pop()
        if len(kinds) != 1:
            expected = ", or ".join(f"{kind.sid} and {kind.secret}" for kind in KINDS)
            raise usage_error(f"{self}: expected {expected}")
        (kind,) = kinds
        if kind.sid not in self.settings:
            raise usage_error(f"{self}: {kind.sid} is missing")
        if kind.secret in self.settings and secret_commands.NAME in self.settings:
            raise usage_error(f"{self}: expected {kind.secret} or {secret_commands.NAME}, got both")
        return kind

    @property
    def sid(self) -> str:
        """The SID of its account, API key or OAuth app."""
        return str(self.settings[self.kind.sid])

    @property
    def secret(self) -> "sdk.Secret | None":
        """The secret. None if a program prints it, or each command prompts for it."""
        secret = self.settings.get(self.kind.secret)
        return secret if isinstance(secret, sdk.Secret) else None

    @property
    def secret_command(self) -> str | None:
        """The program that prints the secret, with its arguments, if there is one."""
        command = self.settings.get(secret_commands.NAME)
        return None if command is None else str(command)

    @property
    def proxy_address(self) -> str | None:
        """The URL of its proxy without the password, if it has one."""
        from .._core.arguments import check_proxy

        proxy = self.settings.get("proxy")
        if not isinstance(proxy, sdk.Secret):
            return None
        try:
            return str(check_proxy(proxy.reveal()).with_user(None))
        except ValueError:
            return "malformed"

    def check(self) -> None:
        """Raise CommandError if a SID, an address, a file of CAs or a program is not usable."""
        from .._core.network import trusting

        credentials = self.credentials(sdk.Secret("placeholder"))
        address: dict[str, Any] = {
            name: self.settings[name] for name in _ADDRESS & self.settings.keys()
        }
        proxy, ca_file = address.get("proxy"), address.pop("ca_file", None)
        if isinstance(proxy, sdk.Secret):
            address["proxy"] = proxy.reveal()
        try:
            if ca_file is not None:
                address["ssl"] = trusting(ca_file, "ca_file")
            sdk.MarketplaceClient(credentials, **address)
            if self.secret_command is not None:
                secret_commands.check(self.secret_command)
        except ValueError as error:
            raise usage_error(f"{self}: {error}") from None

    def credentials(self, secret: "sdk.Secret") -> "sdk.Credentials":
        """Return the credentials of the profile with `secret`.

        Raises:
            CommandError: A SID is malformed.
        """
        kind = self.kind
        account_sid = self.settings.get(ACCOUNT_TOKEN.sid)
        try:
            if kind is ACCOUNT_TOKEN:
                return sdk.AccountToken(self.sid, secret)
            credentials = sdk.ApiKey if kind is API_KEY else sdk.ClientCredentials
            return credentials(self.sid, secret, None if account_sid is None else str(account_sid))
        except ValueError as error:
            raise usage_error(f"{self}: {error}") from None


def profiles_file(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the path of the file: `MARKETPLACE_PROFILES`, or the platform's default."""
    path = environ.get(PATH_VARIABLE)
    if path:
        return Path(path)
    from platformdirs import user_config_path

    return user_config_path("marketplace-async", appauthor=False) / "profiles.toml"


def plan_key() -> "fleet.PlanKey | None":
    """Return the key of digests in plans: `MARKETPLACE_PLAN_KEY`, or a file beside the profiles.

    The file is created if it is missing. Returns None where it cannot be.
    """
    from .. import fleet

    key = fleet.PlanKey.from_env()
    if key is None:
        with suppress(OSError):
            key = fleet.PlanKey.from_file(profiles_file().with_name("plan.key"))
    return key


def load(file: Path) -> dict[str, Profile]:
    """Return the profiles in a file, by name. A missing file has none.

    A profile with an invalid setting costs no other: it has a `problem`.

    Raises:
        CommandError: Other users can read the file, or it is not TOML.
    """
    import tomllib

    try:
        with file.open("rb") as stream:
            _check_private(file, os.fstat(stream.fileno()))
            document = tomllib.load(stream)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise usage_error(f"cannot read profiles: {error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise usage_error(f"{file} is not TOML: {error}") from None
    for name, table in document.items():
        if not isinstance(table, dict):
            raise usage_error(
                f"{file}: {name} is not in a profile", "A profile starts with its name: [name]."
            )
    return {name: _profile(name, file, table) for name, table in document.items()}


def names() -> list[str]:
    """Return the names of the profiles, for completion. Returns none if the file is not usable."""
    import tomllib

    try:
        return [*tomllib.loads(profiles_file().read_text(encoding="utf-8"))]
    except (OSError, ValueError):
        return []


def _check_private(file: Path, status: os.stat_result) -> None:
    if os.name != "posix":
        return
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise usage_error(
            f"{file} holds secrets, but other users can read it (mode "
            f"{stat.S_IMODE(status.st_mode):04o})",
            f"chmod 600 '{file}'",
        )
    if status.st_uid not in (os.geteuid(), 0):
        raise usage_error(f"{file} belongs to another user (UID {status.st_uid})")


def _profile(name: str, file: Path, table: Mapping[str, Any]) -> Profile:
    settings: dict[str, str | bool | sdk.Secret] = {}
    problem = None
    for key, value in table.items():
        place = f"{file}: {name}.{key}"
        # Messages omit the value: it may be a secret.
        if key not in _STRINGS | _FLAGS:
            known = ", ".join(sorted(_STRINGS | _FLAGS))
            problem = usage_error(f"{place}: unknown setting", f"Known settings: {known}.")
        elif key in _FLAGS:
            if isinstance(value, bool):
                settings[key] = value
            else:
                problem = usage_error(f"{place}: expected true or false")
        elif isinstance(value, str) and value.strip():
            settings[key] = sdk.Secret(value) if key in _SECRETS else value
        else:
            problem = usage_error(f"{place}: expected a non-empty string")
    return Profile(name, file, settings, problem)


def save(profile: Profile, *, replace: bool) -> None:
    """Add a profile to its file. The update is atomic, and keeps what other commands add meanwhile.

    Args:
        profile: The profile.
        replace: Whether to replace a profile with the same name.

    Raises:
        CommandError: The profile exists, or the file is invalid or cannot be written.
    """
    with _document(profile.file) as document:
        if not replace:
            check_new(profile.name, profile.file, document)
        import tomlkit

        table = tomlkit.table()
        for key, value in profile.settings.items():
            table[key] = value.reveal() if isinstance(value, sdk.Secret) else value
        document.pop(profile.name, None)
        document[profile.name] = table


def remove(profile: Profile) -> None:
    """Remove a profile from its file. The update is atomic, as in `save`."""
    with _document(profile.file) as document:
        document.pop(profile.name, None)


def check_new(name: str, file: Path, known: Container[str]) -> None:
    """Raise CommandError if a profile exists."""
    if name in known:
        raise usage_error(
            f'profile "{name}" already exists in {file}', "Use --replace to replace it."
        )


@contextmanager
def _document(file: Path) -> Iterator["TOMLDocument"]:
    """Yield the content of the file, and replace the file by what the block makes of it."""
    import tomlkit  # unlike tomllib, it writes TOML and keeps comments

    from .._core.files import locked, replacing

    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        destination = _destination(file)
        with locked(destination, timeout=_LOCK_SECONDS):
            load(file)  # an invalid file is not overwritten
            document = tomlkit.parse(destination.read_bytes() if destination.exists() else b"")
            yield document
            with replacing(destination) as stream:
                stream.write(tomlkit.dumps(document).encode())
    except OSError as error:
        raise usage_error(f"cannot write profiles: {error}") from None


def _destination(file: Path) -> Path:
    """Return the file that a path stands for. A link into dotfiles is kept, and written through.

    Raises:
        CommandError: The path is a link of another user, or leads into a folder that other users
            can write: they could choose the file that is written.
    """
    if os.name != "posix" or not file.is_symlink():
        return file
    destination = file.resolve()
    link, folder = file.lstat(), destination.parent.stat()
    writable = 0o002 if folder.st_gid == os.getegid() else 0o022  # many users have a group each
    if {link.st_uid, folder.st_uid} - {os.geteuid(), 0} or folder.st_mode & writable:
        raise usage_error(
            f"{file} is a link to {destination}, which other users can change",
            f"Use a link of your own to a folder that only you can write, or set {PATH_VARIABLE}.",
        )
    return destination

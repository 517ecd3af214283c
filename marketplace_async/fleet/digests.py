"""Digests of what a plan saw and of what it will write, to detect changes since the plan."""

import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

import attrs

from .._core.codec import encode
from .masking import masked

KEY_VARIABLE: Final = "MARKETPLACE_PLAN_KEY"
_MIN_LENGTH: Final = 16


@attrs.frozen(repr=False)
class PlanKey:
    """The key of the digests in a plan.

    With a key, a plan detects that a secret value has changed, and nobody without the key can guess
    the value from the plan.

    Args:
        key: At least 16 bytes that are hard to guess.
        salt: The salt, if `derived` created the key.
        file: The file that the key was read from, if any.
    """

    _key: bytes = attrs.field(eq=False)
    salt: bytes | None = attrs.field(default=None, eq=False)
    file: Path | None = attrs.field(default=None, eq=False, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if len(self._key) < _MIN_LENGTH:
            raise ValueError(f"key: must be at least {_MIN_LENGTH} bytes, got {len(self._key)}")

    def __repr__(self) -> str:
        return "<PlanKey>"

    @classmethod
    def random(cls) -> Self:
        """Return a random key."""
        return cls(secrets.token_bytes(32))

    @classmethod
    def derived(cls, values: Collection[str], salt: bytes | None = None) -> Self:
        """Derive a key from secret values. Takes about 50 milliseconds.

        All processes of a job can derive the same key, so it is never sent.

        Args:
            values: The secret values.
            salt: The salt. Defaults to a random one, for a key that no other plan has.
        """
        salt = secrets.token_bytes(16) if salt is None else salt
        text = b"".join(b"%d:%b" % (len(one), one) for one in map(str.encode, sorted(values)))
        return cls(hashlib.scrypt(text, salt=salt, n=2**14, r=8, p=1), salt)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self | None:
        """Return the key in `MARKETPLACE_PLAN_KEY`; None if the variable is not set.

        Raises:
            ValueError: The key has fewer than 16 bytes.
        """
        value = (os.environ if environ is None else environ).get(KEY_VARIABLE)
        if not value:
            return None
        if len(value.encode()) < _MIN_LENGTH:
            raise ValueError(f"{KEY_VARIABLE}: must have at least {_MIN_LENGTH} bytes")
        return cls(value.encode())

    @classmethod
    def from_file(cls, file: str | os.PathLike[str]) -> Self:
        """Return the key in a file. A missing file is created with a random key.

        Args:
            file: The file. On POSIX, other users must not have access to it.

        Raises:
            ValueError: Other users have access to the file, or its key is too short.
            OSError: The file cannot be read or created.
        """
        path = Path(file)
        try:
            return cls(_read_private(path), file=path)
        except FileNotFoundError:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The file appears with its content. If another process creates it at the same time, its
        # key is used.
        new = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            descriptor = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(secrets.token_hex(32).encode() + b"\n")
            with suppress(FileExistsError):
                os.link(new, path)
        finally:
            new.unlink(missing_ok=True)
        return cls(_read_private(path), file=path)

    def digest(self, data: bytes) -> str:
        """Return the HMAC-SHA256 of `data` in hex."""
        return hmac.new(self._key, data, hashlib.sha256).hexdigest()

    def hasher(self) -> hmac.HMAC:
        """Return an HMAC-SHA256 that data can be added to."""
        return hmac.new(self._key, digestmod=hashlib.sha256)


def _read_private(path: Path) -> bytes:
    with path.open("rb") as stream:
        mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
        if os.name == "posix" and mode & 0o077:
            raise ValueError(
                f"{path} holds a key, but other users have access: run chmod 600 {path}"
            )
        key = stream.read().strip()
    if len(key) < _MIN_LENGTH:
        raise ValueError(f"{path}: expected a key of at least {_MIN_LENGTH} bytes")
    return key


@attrs.frozen
class Digests:
    """Computes digests of plain JSON. Values that are equal as JSON have equal digests.

    Args:
        key: The key. Without one, a digest does not cover the values of secret keys.
        secret: The configuration keys whose values are secret.
    """

    _key: PlanKey | None = attrs.field(repr=False)
    _secret: Collection[str] = ()

    @property
    def key(self) -> PlanKey | None:
        """The key."""
        return self._key

    @property
    def cover_secrets(self) -> bool:
        """Whether a digest covers the values of secret keys."""
        return self._key is not None

    def of(self, value: Any) -> str:
        """Return the digest of plain JSON."""
        if self._key is not None:
            return "hmac:" + self._key.digest(_canonical(value))
        return "sha256:" + hashlib.sha256(_canonical(masked(value, self._secret))).hexdigest()


def _canonical(value: Any) -> bytes:
    return encode(_normal(value))


def _normal(value: Any) -> Any:
    """Return a normal form. Values that are equal as JSON have the same one."""
    match value:
        case None | bool() | str():
            return value
        case int() | float():
            return ["number", *map(str, value.as_integer_ratio())]
        case list() | tuple():
            return ["list", *map(_normal, value)]
        case Mapping():
            return ["object", *([key, _normal(value[key])] for key in sorted(value))]
        case _:
            raise TypeError(f"not plain JSON: {type(value).__name__}")

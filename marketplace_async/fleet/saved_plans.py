"""Saved plans: files to review, and to apply later.

A saved plan is a JSON Lines file: a header, a line for each account with steps, a line for each
failure, the counts, and a seal over all lines before it. The seal is an HMAC with the plan key, so
nobody without the key can edit the file unnoticed. Without a key, it is a plain SHA-256 digest,
which only detects accidental changes.

Classes and functions block; call them in a thread.
"""

import hashlib
import hmac
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, TypeAlias, TypeVar

import attrs

from .._core.codec import encode, from_json
from .._core.files import check_distinct, check_output, replacing
from .._version import __version__
from ._engine.entries import Failure, JobError
from ._engine.identity import fleet_differences
from .desired import Desired
from .digests import PlanKey
from .parts import Part
from .steps import AccountPlan

T = TypeVar("T")

_FORMAT: Final = 1
_KIND: Final = "marketplace_async plan"
_MARK: Final = b'{"kind":"marketplace_async plan",'
_FINGERPRINT: Final = b"the key of a saved plan"
_MAX_HEADER: Final = 1 << 20
_BATCH: Final = 100


class _NotWrittenError(Exception):
    """Aborts the replacement of a file."""


@attrs.frozen(kw_only=True)
class Header:
    """The first line of a saved plan: the fleet and the desired state that it was made for.

    Attributes:
        kind: Identifies the file as a saved plan.
        format: The version of the format.
        version: The version of the package.
        made: When the plan was made, in UTC.
        fleet: The identity of the fleet.
        desired_files: The path of the desired state, as given.
        desired: A digest of the desired state that ignores secret values.
        secret_values: Whether the digests of the steps cover the values of secret keys.
        key: A fingerprint of the plan key. None without a key.
        part: The part of the fleet that the plan is limited to.
    """

    kind: str = _KIND
    format: int
    version: str
    made: str
    fleet: dict[str, str] = attrs.field(hash=False)
    desired_files: tuple[str, ...]
    desired: str
    secret_values: Literal["compared", "not compared"]
    key: str | None
    part: Part = attrs.field(factory=Part)


@attrs.frozen(kw_only=True)
class End:
    """The counts of a saved plan.

    Attributes:
        accounts: Number of accounts that were planned or failed.
        unmatched: A message for each selection of the desired state that matches no account.
    """

    accounts: int
    unmatched: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class _Line:
    account: AccountPlan | None = None
    failure: Failure | None = None
    end: End | None = None
    seal: str | None = None


Content: TypeAlias = AccountPlan | Failure | End


class PlanFile:
    """Writes a saved plan as the output of a job. The file appears once the plan is finished.

    Args:
        file: The file. An earlier saved plan is replaced.
        identity: The settings of the job.
        desired: The desired state.
        key: The plan key.
        inputs: Files that the job reads, which it must not overwrite.
        part: The part of the fleet that the plan is limited to.

    Raises:
        JobError: The file exists and is not a saved plan.
        OSError: The file is not a regular file, or is an input.
    """

    def __init__(
        self,
        file: Path,
        identity: Mapping[str, Any],
        desired: Desired,
        key: PlanKey | None,
        inputs: Sequence[Path],
        part: Part = Part(),  # noqa: B008 - frozen
    ) -> None:
        check_distinct([file], inputs)
        if check_output(file):
            with file.open("rb") as stream:
                if stream.read(len(_MARK)) != _MARK:
                    raise JobError(f"{file} exists and is not a saved plan: pass another path")
        self._file = file
        self._seal = _hasher(key)
        self._prefix = _prefix(key)
        self._header = Header(
            format=_FORMAT,
            version=__version__,
            made=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            fleet=_fleet(identity),
            desired_files=tuple(map(str, desired.files)),
            desired=desired.digest(),
            secret_values="not compared" if key is None else "compared",
            key=_fingerprint(key),
            part=part,
        )
        self._stack = ExitStack()
        self._stream: BinaryIO

    def begin(self) -> None:
        """Start a temporary file."""
        self._stream = self._stack.enter_context(replacing(self._file))
        self._write(encode(self._header))

    def resume(self, position: int) -> None:
        """Raise JobError: a saved plan cannot be resumed."""
        raise JobError(f"{self._file} cannot be resumed", "overwrite")

    def write(self, account_sid: str, records: Sequence[AccountPlan]) -> None:
        """Write the plan of an account if it has steps."""
        for plan in records:
            if plan.steps:
                self._write(b'{"account":' + encode(plan) + b"}")

    def fail(self, failure: Failure) -> None:
        """Write the failure of an account."""
        self._write(b'{"failure":' + encode(failure) + b"}")

    def sync(self) -> int:
        """Return 0: the file is synced when it is finished."""
        return 0

    def finish(self, end: End) -> None:
        """Write the end and the seal, and replace the file."""
        self._write(b'{"end":' + encode(end) + b"}")
        seal = self._prefix + self._seal.hexdigest()
        self._stream.write(encode({"seal": seal}) + b"\n")
        self._stack.close()

    def close(self) -> None:
        """Delete the temporary file unless the plan was finished."""
        # An OSError of a full disk has already been reported.
        with suppress(_NotWrittenError, OSError), self._stack:
            raise _NotWrittenError

    def _write(self, line: bytes) -> None:
        self._seal.update(line + b"\n")
        self._stream.write(line + b"\n")


class SavedPlan:
    """A saved plan to apply.

    Args:
        file: The file.
        key: The plan key.

    Raises:
        JobError: The file is not a saved plan, is of another version, was made with another key, or
            was edited.
        OSError: The file cannot be read.
    """

    def __init__(self, file: Path, key: PlanKey | None) -> None:
        self.file: Path = file
        self._key = key
        self.header: Header = read_header(file)
        header = self.header
        if header.key is None:
            self._key = None
        elif key is None or header.key != _fingerprint(key):
            raise JobError(
                f"{file} was made with another plan key: use the same key "
                "(MARKETPLACE_PLAN_KEY, or key=), or make the plan again"
            )
        for _ in self._lines():
            pass

    @property
    def key(self) -> PlanKey | None:
        """The key of the plan's digests. None if they do not cover secret values."""
        return self._key

    def check(
        self, identity: Mapping[str, Any], desired: Desired, *, accept_secret_changes: bool
    ) -> None:
        """Raise JobError unless the plan was made for this fleet and this desired state."""
        if changes := fleet_differences(self.header.fleet, _fleet(identity)):
            raise JobError(f"{self.file} was made for another fleet: {changes}")
        if self.header.desired != desired.digest():
            raise JobError(
                f"{self.file} was made for another desired state, or the desired state has changed "
                "since: make the plan again"
            )
        if self._key is None and desired.secret and not accept_secret_changes:
            raise JobError(
                f"{self.file} was made without a plan key: secret values are not compared, so that "
                "a changed secret would be applied without a review. Make the plan again with a "
                "key (MARKETPLACE_PLAN_KEY, or key=), or accept changed secrets "
                "(--accept-secret-changes, or accept_secret_changes=True)"
            )

    def batches(self) -> Iterator[list[Content]]:
        """Yield the plans and failures of accounts in batches, and finally the end.

        Raises:
            JobError: The file was edited after it was opened.
        """
        batch: list[Content] = []
        for text in self._lines():
            line = _parsed(text, _Line, self.file)
            content = line.account or line.failure or line.end
            if content is None:
                raise _damaged(self.file)
            batch.append(content)
            if len(batch) == _BATCH:
                yield batch
                batch = []
        yield batch

    def plans(self) -> Iterator[AccountPlan]:
        """Yield the plans of accounts."""
        for batch in self.batches():
            yield from (one for one in batch if isinstance(one, AccountPlan))

    def _lines(self) -> Iterator[bytes]:
        """Yield the lines between the header and the seal, then check the seal."""
        hasher = _hasher(self._key)
        with self.file.open("rb") as stream:
            hasher.update(stream.readline(_MAX_HEADER))
            line = b""
            for following in stream:
                if line:
                    hasher.update(line)
                    yield line
                line = following
        seal = encode({"seal": _prefix(self._key) + hasher.hexdigest()}) + b"\n"
        if not hmac.compare_digest(line, seal):
            raise _damaged(self.file)


def read_header(file: Path) -> Header:
    """Return the first line of a saved plan.

    Raises:
        JobError: The file is not a saved plan, or is of another version.
        OSError: The file cannot be read.
    """
    with file.open("rb") as stream:
        line = stream.readline(_MAX_HEADER)
    if not line.startswith(_MARK):
        raise JobError(
            f"{file} is not a saved plan: expected a file from plan --out, or plan(out=)"
        )
    header = _parsed(line, Header, file)
    if (header.format, header.version) != (_FORMAT, __version__):
        raise JobError(
            f"{file} was made by version {header.version} of marketplace_async, and this is "
            f"{__version__}: make the plan again"
        )
    return header


def _parsed(line: bytes, cls: type[T], file: Path) -> T:
    try:
        return from_json(line, cls, "a line of a saved plan")
    except ValueError:
        raise _damaged(file) from None


def _damaged(file: Path) -> JobError:
    return JobError(
        f"{file} was edited or damaged after it was made: its seal does not match. Make the plan "
        "again"
    )


def _fleet(identity: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings of a job that identify its fleet."""
    left_out = ("job", "desired", "accounts", "unmanaged", "part")
    return {name: str(value) for name, value in identity.items() if name not in left_out}


def _fingerprint(key: PlanKey | None) -> str | None:
    return None if key is None else key.digest(_FINGERPRINT)[:16]


def _prefix(key: PlanKey | None) -> str:
    return "sha256:" if key is None else "hmac:"


def _hasher(key: PlanKey | None) -> "hashlib._Hash | hmac.HMAC":
    return hashlib.sha256() if key is None else key.hasher()

"""What the emulator remembers, in SQLite. The one place that may block the event loop.

A query takes microseconds, less than handing it to a thread would. What a method has returned from
is committed: in a file it survives the death of the process.
"""

import json
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import msgspec

_SCHEMA = """
CREATE TABLE IF NOT EXISTS installed_add_ons (
    seq INTEGER PRIMARY KEY,
    sid TEXT NOT NULL UNIQUE,
    account_sid TEXT NOT NULL,
    available_add_on_sid TEXT NOT NULL,
    friendly_name TEXT NOT NULL,
    description TEXT NOT NULL,
    unique_name TEXT NOT NULL,
    configuration TEXT NOT NULL,
    date_created TEXT NOT NULL,
    date_updated TEXT NOT NULL,
    -- A page token names a record, which may be deleted while somebody pages: the row stays.
    deleted INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS unique_names
    ON installed_add_ons (account_sid, unique_name) WHERE NOT deleted;
CREATE INDEX IF NOT EXISTS by_account
    ON installed_add_ons (account_sid, seq) WHERE NOT deleted;
CREATE TABLE IF NOT EXISTS enabled_extensions (
    installed_add_on_sid TEXT NOT NULL,
    extension_sid TEXT NOT NULL,
    PRIMARY KEY (installed_add_on_sid, extension_sid)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS listings (
    seq INTEGER PRIMARY KEY,
    sid TEXT NOT NULL UNIQUE,
    account_sid TEXT NOT NULL,
    document TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS usage (
    seq INTEGER PRIMARY KEY,
    account_sid TEXT NOT NULL,
    installed_add_on_sid TEXT NOT NULL,
    sid TEXT NOT NULL,
    quantity TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS accounts (
    seq INTEGER PRIMARY KEY,
    sid TEXT NOT NULL UNIQUE,
    owner_account_sid TEXT NOT NULL,
    friendly_name TEXT NOT NULL,
    status TEXT NOT NULL,
    auth_token TEXT NOT NULL,
    date_created TEXT NOT NULL,
    date_updated TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS by_owner ON accounts (owner_account_sid, seq);
"""

_COLUMNS = (
    "sid, account_sid, available_add_on_sid, friendly_name, description, unique_name, "
    "configuration, date_created, date_updated"
)
_SELECT_INSTALLATION = (
    f"SELECT {_COLUMNS} FROM installed_add_ons "
    "WHERE sid = ? AND NOT deleted AND account_sid = ifnull(?, account_sid)"
)
_ACCOUNT_COLUMNS = (
    "sid, owner_account_sid, friendly_name, status, auth_token, date_created, date_updated"
)
_SELECT_ACCOUNT = f"SELECT {_ACCOUNT_COLUMNS} FROM accounts WHERE sid = ?"


class NameTaken(Exception):
    """The unique name is in use on the account."""


class Installation(NamedTuple):
    """A row: an add-on that is installed on an account. The configuration is JSON."""

    sid: str
    account_sid: str
    available_add_on_sid: str
    friendly_name: str
    description: str
    unique_name: str
    configuration: str
    date_created: str
    date_updated: str


@attrs.frozen
class UsageItem:
    """Usage that was accepted for billing: who reported it, on what, which item, and how much."""

    account_sid: str
    installed_add_on_sid: str
    sid: str
    quantity: Decimal = attrs.field(converter=Decimal)


@attrs.frozen
class Account:
    """A row: an account that owns itself, or a subaccount that was made for one."""

    sid: str
    owner_account_sid: str
    friendly_name: str
    status: str
    auth_token: str = attrs.field(repr=False)
    date_created: str
    date_updated: str

    @property
    def is_subaccount(self) -> bool:
        return self.owner_account_sid != self.sid


@attrs.frozen
class Slice:
    """A part of a list, and whether there is more before it and after it."""

    items: Sequence[Any]
    before: bool
    after: bool


class Store:
    """The state of an emulator, in memory or in a file."""

    def __init__(self, file: Path | None = None) -> None:
        self._db = sqlite3.connect(file or ":memory:", isolation_level=None)
        # NORMAL with a write-ahead log outlives the process, which is what is promised; it does not
        # outlive a power cut, and costs no fsync per write.
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(_SCHEMA)
        self._numbers: dict[tuple[str, str], int] = {}

    def close(self) -> None:
        self._db.close()

    def install(
        self,
        *,
        account_sid: str,
        available_add_on_sid: str,
        friendly_name: str,
        description: str,
        unique_name: str,
        configuration: dict[str, Any],
    ) -> Installation:
        """Add an installation. Raises NameTaken."""
        now = _now()
        sid = new_sid("XE")
        try:
            self._db.execute(
                f"INSERT INTO installed_add_ons ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    sid,
                    account_sid,
                    available_add_on_sid,
                    friendly_name,
                    description,
                    unique_name,
                    _json(configuration),
                    now,
                    now,
                ),
            )
        except sqlite3.IntegrityError as error:
            raise _name_taken(error) from None
        installation = self.installation(sid)
        assert installation is not None
        return installation

    def installation(self, sid: str, account_sid: str | None = None) -> Installation | None:
        """Return an installation, of this account if one is given."""
        row = self._db.execute(_SELECT_INSTALLATION, (sid, account_sid)).fetchone()
        return None if row is None else Installation(*row)

    def next_number(self, account_sid: str, available_add_on_sid: str) -> int:
        """Return another number at each call, from the installations that there ever were on."""
        key = (account_sid, available_add_on_sid)
        if key not in self._numbers:
            (self._numbers[key],) = self._db.execute(
                "SELECT count(*) FROM installed_add_ons "
                "WHERE account_sid = ? AND available_add_on_sid = ?",
                key,
            ).fetchone()
        self._numbers[key] += 1
        return self._numbers[key] - 1

    def update_installation(
        self, sid: str, unique_name: str | None, configuration: dict[str, Any] | None
    ) -> None:
        """Change what is not None. Raises NameTaken."""
        try:
            self._db.execute(
                "UPDATE installed_add_ons SET unique_name = ifnull(?, unique_name), "
                "configuration = ifnull(?, configuration), date_updated = ? WHERE sid = ?",
                (
                    unique_name,
                    None if configuration is None else _json(configuration),
                    _now(),
                    sid,
                ),
            )
        except sqlite3.IntegrityError as error:
            raise _name_taken(error) from None

    def delete_installation(self, sid: str) -> None:
        self._db.execute("UPDATE installed_add_ons SET deleted = 1 WHERE sid = ?", (sid,))

    def installations(
        self, account_sid: str, size: int, *, after: str | None, before: str | None
    ) -> Slice | None:
        """Return `size` installations next to a SID, or the first; None if the SID is unknown."""
        return self._slice(
            f"SELECT {_COLUMNS} FROM installed_add_ons WHERE account_sid = ? AND NOT deleted",
            [account_sid],
            "SELECT seq FROM installed_add_ons WHERE sid = ? AND account_sid = ?",
            [after or before, account_sid],
            Installation,
            size,
            after,
            before,
        )

    def _slice(
        self,
        select: str,
        values: Sequence[object],
        select_anchor: str,
        anchor_values: Sequence[object],
        make: Callable[..., Any],
        size: int,
        after: str | None,
        before: str | None,
    ) -> Slice | None:
        anchor = 0
        if after or before:
            row = self._db.execute(select_anchor, anchor_values).fetchone()
            if row is None:
                return None
            anchor = row[0]
        compare, order = ("<", "DESC") if before else (">", "ASC")
        # One more than asked for tells whether there is more in this direction.
        rows = self._db.execute(
            f"{select} AND seq {compare} ? ORDER BY seq {order} LIMIT ?",
            [*values, anchor, size + 1],
        ).fetchall()
        more, rows = len(rows) > size, rows[:size]
        items = [make(*row) for row in (reversed(rows) if before else rows)]
        if before:
            return Slice(items, before=more, after=True)
        return Slice(items, before=bool(after), after=more)

    def enabled_extensions(self, installed_add_on_sid: str) -> set[str]:
        """Return the SIDs of the extensions that are enabled."""
        rows = self._db.execute(
            "SELECT extension_sid FROM enabled_extensions WHERE installed_add_on_sid = ?",
            (installed_add_on_sid,),
        )
        return {sid for (sid,) in rows}

    def enable_extension(
        self, installed_add_on_sid: str, extension_sid: str, enabled: bool
    ) -> None:
        statement = (
            "INSERT OR IGNORE INTO enabled_extensions VALUES (?, ?)"
            if enabled
            else "DELETE FROM enabled_extensions "
            "WHERE installed_add_on_sid = ? AND extension_sid = ?"
        )
        self._db.execute(statement, (installed_add_on_sid, extension_sid))

    def save_listing(self, sid: str, account_sid: str, document: dict[str, Any]) -> None:
        """Add a listing, or replace its document."""
        self._db.execute(
            "INSERT INTO listings VALUES (NULL, ?, ?, ?) "
            "ON CONFLICT (sid) DO UPDATE SET document = excluded.document",
            (sid, account_sid, json.dumps(document)),
        )

    def listing(self, sid: str, account_sid: str) -> dict[str, Any] | None:
        """Return the document of a listing that the account owns."""
        row = self._db.execute(
            "SELECT document FROM listings WHERE sid = ? AND account_sid = ?", (sid, account_sid)
        ).fetchone()
        return None if row is None else json.loads(row[0])

    def listings(self, account_sid: str) -> list[dict[str, Any]]:
        """Return the documents of all listings that the account owns."""
        rows = self._db.execute(
            "SELECT document FROM listings WHERE account_sid = ? ORDER BY seq", (account_sid,)
        )
        return [json.loads(document) for (document,) in rows]

    def bill(self, items: Iterable[UsageItem]) -> None:
        """Add usage: all of it, or nothing."""
        rows = [
            (item.account_sid, item.installed_add_on_sid, item.sid, str(item.quantity))
            for item in items
        ]
        with self.transaction():
            self._db.executemany("INSERT INTO usage VALUES (NULL, ?, ?, ?, ?)", rows)

    def account(self, sid: str) -> Account | None:
        """Return an account that was made, or that asked for its accounts before."""
        row = self._db.execute(_SELECT_ACCOUNT, (sid,)).fetchone()
        return None if row is None else Account(*row)

    def ensure_account(self, sid: str) -> Account:
        """Return an account; one that was not made here becomes one that owns itself."""
        account = self.account(sid)
        if account is None:
            account = Account(sid, sid, sid, "active", secrets.token_hex(16), now := _now(), now)
            self._insert_accounts([account])
        return account

    def add_accounts(
        self, owner_account_sid: str, friendly_names: Iterable[str], status: str
    ) -> list[tuple[str, str]]:
        """Make subaccounts, all of them or none; gives the SID and the auth token of each."""
        now = _now()
        made = [
            Account(new_sid("AC"), owner_account_sid, name, status, secrets.token_hex(16), now, now)
            for name in friendly_names
        ]
        with self.transaction():
            self._insert_accounts(made)
        return [(account.sid, account.auth_token) for account in made]

    def _insert_accounts(self, accounts: Iterable[Account]) -> None:
        self._db.executemany(
            f"INSERT INTO accounts ({_ACCOUNT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",
            [attrs.astuple(account) for account in accounts],
        )

    def update_account(self, sid: str, friendly_name: str | None, status: str | None) -> None:
        """Change what is not None."""
        if friendly_name is not None or status is not None:
            self._db.execute(
                "UPDATE accounts SET friendly_name = ifnull(?, friendly_name), "
                "status = ifnull(?, status), date_updated = ? WHERE sid = ?",
                (friendly_name, status, _now(), sid),
            )

    def accounts(
        self,
        asking: Account,
        size: int,
        *,
        after: str | None,
        before: str | None,
        status: str | None,
        friendly_name: str | None,
    ) -> Slice | None:
        """Return `size` accounts that an account may see, itself among them, as `installations`."""
        mine = "sid = ?" if asking.is_subaccount else "owner_account_sid = ?"
        return self._slice(
            f"SELECT {_ACCOUNT_COLUMNS} FROM accounts WHERE {mine} "
            "AND status = ifnull(?, status) AND friendly_name = ifnull(?, friendly_name)",
            [asking.sid, status, friendly_name],
            f"SELECT seq FROM accounts WHERE sid = ? AND {mine}",
            [after or before, asking.sid],
            Account,
            size,
            after,
            before,
        )

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what is done in the block as one, or nothing of it."""
        self._db.execute("BEGIN")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def usage(self) -> list[UsageItem]:
        """Return all usage that was accepted, oldest first."""
        rows = self._db.execute(
            "SELECT account_sid, installed_add_on_sid, sid, quantity FROM usage ORDER BY seq"
        )
        return [UsageItem(*row) for row in rows]


def _name_taken(error: sqlite3.IntegrityError) -> Exception:
    return NameTaken() if "unique_name" in str(error) else error


def _json(configuration: dict[str, Any]) -> str:
    return msgspec.json.encode(configuration).decode()


def new_sid(prefix: str) -> str:
    """Return a SID that nothing has yet."""
    return prefix + secrets.token_hex(16)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

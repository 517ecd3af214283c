"""The state of the emulator, in SQLite. The only module that may block the event loop.

A query takes microseconds, less than a switch to a thread. Every method commits before it returns:
a state file survives `kill -9`.
"""

import json
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import attrs
import msgspec

from .._core.databases import ConstraintError, FileKind, open_database
from .records import Account, Installation, NameTaken, Slice, UsageItem

_STATE: Final = FileKind(
    name="a state file of the emulator",
    application_id=0x4D41656D,  # "MAem"
    version=1,
    schema=(
        """CREATE TABLE installed_add_ons (
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
            -- Page tokens refer to records. The latest deleted rows stay, so that paging continues.
            deleted INTEGER NOT NULL DEFAULT 0
        ) STRICT""",
        """CREATE UNIQUE INDEX unique_names
            ON installed_add_ons (account_sid, unique_name) WHERE NOT deleted""",
        """CREATE INDEX by_account
            ON installed_add_ons (account_sid, seq) WHERE NOT deleted""",
        """CREATE TABLE enabled_extensions (
            installed_add_on_sid TEXT NOT NULL,
            extension_sid TEXT NOT NULL,
            PRIMARY KEY (installed_add_on_sid, extension_sid)
        ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE listings (
            seq INTEGER PRIMARY KEY,
            sid TEXT NOT NULL UNIQUE,
            account_sid TEXT NOT NULL,
            document TEXT NOT NULL
        ) STRICT""",
        """CREATE TABLE usage (
            seq INTEGER PRIMARY KEY,
            account_sid TEXT NOT NULL,
            installed_add_on_sid TEXT NOT NULL,
            sid TEXT NOT NULL,
            quantity TEXT NOT NULL
        ) STRICT""",
        """CREATE TABLE accounts (
            seq INTEGER PRIMARY KEY,
            sid TEXT NOT NULL UNIQUE,
            owner_account_sid TEXT NOT NULL,
            friendly_name TEXT NOT NULL,
            status TEXT NOT NULL,
            auth_token TEXT NOT NULL,
            date_created TEXT NOT NULL,
            date_updated TEXT NOT NULL
        ) STRICT""",
        "CREATE INDEX by_owner ON accounts (owner_account_sid, seq)",
        """CREATE TABLE core_resources (
            seq INTEGER PRIMARY KEY,
            parent TEXT NOT NULL,
            sid TEXT NOT NULL,
            document TEXT NOT NULL,
            UNIQUE (parent, sid)
        ) STRICT""",
    ),
    # With a write-ahead log, NORMAL survives a crash of the process but not a power failure.
    # It saves one fsync per write.
    pragmas=("journal_mode = WAL", "synchronous = NORMAL"),
    error=OSError,
    user="another emulator",
    first_tables=frozenset(
        {"installed_add_ons", "enabled_extensions", "listings", "usage", "accounts"}
    ),
    temporary=":memory:",
)

_TABLES = (
    *("installed_add_ons", "enabled_extensions", "listings", "usage", "accounts"),
    "core_resources",
)
_COLUMNS = (
    "sid, account_sid, available_add_on_sid, friendly_name, description, unique_name, "
    "configuration, date_created, date_updated"
)
_SELECT_INSTALLATION = (
    f"SELECT {_COLUMNS} FROM installed_add_ons "
    "WHERE sid = ? AND NOT deleted AND account_sid = ifnull(?, account_sid)"
)
# SQLite would give the highest number again. A page token that refers to it must not skip a record.
_FORGET_INSTALLATION = (
    "DELETE FROM installed_add_ons "
    "WHERE sid = ? AND deleted AND seq < (SELECT max(seq) FROM installed_add_ons)"
)
_MAX_DELETED = 10_000
_ACCOUNT_COLUMNS = (
    "sid, owner_account_sid, friendly_name, status, auth_token, date_created, date_updated"
)
_SELECT_ACCOUNT = f"SELECT {_ACCOUNT_COLUMNS} FROM accounts WHERE sid = ?"


class Store:
    """The state of an emulator, in memory or in a file.

    Raises:
        OSError: The file cannot be opened, is damaged, or is not a state file; it is left
            unchanged. Methods raise OSError if the disk is full or fails.
    """

    def __init__(self, file: Path | None = None) -> None:
        # Several threads use the store, one after the other: the emulator holds a lock. Only one
        # emulator uses a file: its numbers and tokens are in memory.
        self._db = open_database(file, _STATE, exclusive=True, timeout=0.5)
        self._numbers: dict[tuple[str, str], int] = {}
        self._deleted: deque[str] = deque()

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
        """Insert an installation. Raises NameTaken."""
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
        except ConstraintError as error:
            raise _name_taken(error) from None
        installation = self.installation(sid)
        assert installation is not None
        return installation

    def installation(self, sid: str, account_sid: str | None = None) -> Installation | None:
        """Return an installation, or None. Restricted to `account_sid` unless that is None."""
        row = self._db.execute(_SELECT_INSTALLATION, (sid, account_sid)).fetchone()
        return None if row is None else Installation(*row)

    def next_number(self, account_sid: str, available_add_on_sid: str) -> int:
        """Return the next number for a default name; starts at the count of past installations."""
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
        """Update every field that is not None. Raises NameTaken."""
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
        except ConstraintError as error:
            raise _name_taken(error) from None

    def delete_installation(self, sid: str) -> None:
        """Delete an installation. Its row stays until 10,000 more have been deleted."""
        with self.transaction():
            self._db.execute("UPDATE installed_add_ons SET deleted = 1 WHERE sid = ?", (sid,))
            self._db.execute(
                "DELETE FROM enabled_extensions WHERE installed_add_on_sid = ?", (sid,)
            )
            self._deleted.append(sid)
            if len(self._deleted) > _MAX_DELETED:
                self._db.execute(_FORGET_INSTALLATION, (self._deleted.popleft(),))

    def installations(
        self, account_sid: str, size: int, *, after: str | None, before: str | None
    ) -> Slice | None:
        """Return up to `size` installations: the first ones, or those next to a SID.

        Returns None if the SID is unknown.
        """
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
        record: Callable[..., Any],
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
        # One extra row shows whether the list continues.
        rows = self._db.execute(
            f"{select} AND seq {compare} ? ORDER BY seq {order} LIMIT ?",
            [*values, anchor, size + 1],
        ).fetchall()
        more, rows = len(rows) > size, rows[:size]
        items = [record(*row) for row in (reversed(rows) if before else rows)]
        if before:
            return Slice(items, before=more, after=True)
        return Slice(items, before=bool(after), after=more)

    def enabled_extensions(self, installed_add_on_sid: str) -> set[str]:
        """Return the SIDs of the enabled extensions."""
        rows = self._db.execute(
            "SELECT extension_sid FROM enabled_extensions WHERE installed_add_on_sid = ?",
            (installed_add_on_sid,),
        )
        return {sid for (sid,) in rows.fetchall()}

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
        """Insert a listing, or replace its document."""
        self._db.execute(
            "INSERT INTO listings VALUES (NULL, ?, ?, ?) "
            "ON CONFLICT (sid) DO UPDATE SET document = excluded.document",
            (sid, account_sid, json.dumps(document)),
        )

    def listing(self, sid: str, account_sid: str) -> dict[str, Any] | None:
        """Return the document of a listing, or None unless the account owns it."""
        row = self._db.execute(
            "SELECT document FROM listings WHERE sid = ? AND account_sid = ?", (sid, account_sid)
        ).fetchone()
        return None if row is None else json.loads(row[0])

    def listings(self, account_sid: str) -> list[dict[str, Any]]:
        """Return the documents of the account's listings, oldest first."""
        rows = self._db.execute(
            "SELECT document FROM listings WHERE account_sid = ? ORDER BY seq", (account_sid,)
        )
        return [json.loads(document) for (document,) in rows.fetchall()]

    def add_core_resource(self, parent: str, document: dict[str, Any]) -> None:
        """Insert a resource of the core API, unless its parent has one with this SID."""
        self._db.execute(
            "INSERT OR IGNORE INTO core_resources VALUES (NULL, ?, ?, ?)",
            (parent, document["sid"], json.dumps(document)),
        )

    def core_resources(self, parent: str) -> list[dict[str, Any]]:
        """Return the resources below a path, oldest first."""
        rows = self._db.execute(
            "SELECT document FROM core_resources WHERE parent = ? ORDER BY seq", (parent,)
        )
        return [json.loads(document) for (document,) in rows.fetchall()]

    def delete_core_resource(self, parent: str, sid: str) -> None:
        """Delete a resource and all below it."""
        self._db.execute(
            "DELETE FROM core_resources WHERE parent = ? AND sid = ? OR parent GLOB ?",
            (parent, sid, f"{parent}/{sid}/*"),
        )

    def add_usage(self, items: Iterable[UsageItem]) -> None:
        """Insert usage items in one transaction."""
        rows = [
            (item.account_sid, item.installed_add_on_sid, item.sid, str(item.quantity))
            for item in items
        ]
        with self.transaction():
            self._db.executemany("INSERT INTO usage VALUES (NULL, ?, ?, ?, ?)", rows)

    def account(self, sid: str) -> Account | None:
        """Return an account, or None if the store has no record of it."""
        row = self._db.execute(_SELECT_ACCOUNT, (sid,)).fetchone()
        return None if row is None else Account(*row)

    def ensure_account(self, sid: str) -> Account:
        """Return an account. Inserts it as a parent account if the store has no record of it."""
        account = self.account(sid)
        if account is None:
            account = Account(sid, sid, sid, "active", secrets.token_hex(16), now := _now(), now)
            self._insert_accounts([account])
        return account

    def add_accounts(
        self, owner_account_sid: str, friendly_names: Iterable[str], status: str
    ) -> list[tuple[str, str]]:
        """Create subaccounts in one transaction. Returns the SID and auth token of each."""
        now = _now()
        accounts = [
            Account(new_sid("AC"), owner_account_sid, name, status, secrets.token_hex(16), now, now)
            for name in friendly_names
        ]
        with self.transaction():
            self._insert_accounts(accounts)
        return [(account.sid, account.auth_token) for account in accounts]

    def _insert_accounts(self, accounts: Iterable[Account]) -> None:
        self._db.executemany(
            f"INSERT INTO accounts ({_ACCOUNT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",
            [attrs.astuple(account) for account in accounts],
        )

    def update_account(self, sid: str, friendly_name: str | None, status: str | None) -> None:
        """Update every field that is not None."""
        if friendly_name is not None or status is not None:
            self._db.execute(
                "UPDATE accounts SET friendly_name = ifnull(?, friendly_name), "
                "status = ifnull(?, status), date_updated = ? WHERE sid = ?",
                (friendly_name, status, _now(), sid),
            )

    def accounts(
        self,
        viewer: Account,
        size: int,
        *,
        after: str | None,
        before: str | None,
        status: str | None,
        friendly_name: str | None,
    ) -> Slice | None:
        """Return up to `size` accounts visible to `viewer`, as `installations` does."""
        visible = "sid = ?" if viewer.is_subaccount else "owner_account_sid = ?"
        return self._slice(
            f"SELECT {_ACCOUNT_COLUMNS} FROM accounts WHERE {visible} "
            "AND status = ifnull(?, status) AND friendly_name = ifnull(?, friendly_name)",
            [viewer.sid, status, friendly_name],
            f"SELECT seq FROM accounts WHERE sid = ? AND {visible}",
            [after or before, viewer.sid],
            Account,
            size,
            after,
            before,
        )

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit the block as one transaction. An exception rolls it back."""
        with self._db.transaction():
            yield

    def all_accounts(self) -> list[Account]:
        """Return the accounts of all owners, oldest first."""
        rows = self._db.execute(f"SELECT {_ACCOUNT_COLUMNS} FROM accounts ORDER BY seq")
        return [Account(*row) for row in rows.fetchall()]

    def all_installations(
        self, account_sid: str | None = None, limit: int | None = None
    ) -> list[Installation]:
        """Return the installations of all accounts or of one, oldest first, at most `limit`."""
        owned, values = _owned_by(account_sid, limit)
        rows = self._db.execute(
            f"SELECT {_COLUMNS} FROM installed_add_ons WHERE NOT deleted AND {owned}", values
        )
        return [Installation(*row) for row in rows.fetchall()]

    def all_enabled_extensions(self) -> set[tuple[str, str]]:
        """Return the installation and extension SIDs of all enabled extensions."""
        return set(self._db.execute("SELECT * FROM enabled_extensions"))

    def all_listings(
        self, account_sid: str | None = None, limit: int | None = None
    ) -> list[tuple[str, str, dict[str, Any]]]:
        """Return the SID, account SID and document of listings, as `all_installations` does."""
        owned, values = _owned_by(account_sid, limit)
        rows = self._db.execute(
            f"SELECT sid, account_sid, document FROM listings WHERE {owned}", values
        )
        return [(sid, owner, json.loads(document)) for sid, owner, document in rows.fetchall()]

    def clear(self) -> None:
        """Delete everything in one transaction."""
        with self.transaction():
            for table in _TABLES:
                self._db.execute(f"DELETE FROM {table}")
        self._numbers.clear()
        self._deleted.clear()

    def counts(self) -> dict[str, tuple[int, int, int]]:
        """Return how many installations, usage items and listings each account has."""
        rows = self._db.execute(
            "SELECT account_sid, sum(installations), sum(usage_items), sum(listings) FROM ("
            "SELECT account_sid, count(*) AS installations, 0 AS usage_items, 0 AS listings "
            "FROM installed_add_ons WHERE NOT deleted GROUP BY account_sid "
            "UNION ALL SELECT account_sid, 0, count(*), 0 FROM usage GROUP BY account_sid "
            "UNION ALL SELECT account_sid, 0, 0, count(*) FROM listings GROUP BY account_sid"
            ") GROUP BY account_sid"
        )
        return {sid: tuple(counts) for sid, *counts in rows.fetchall()}

    def usage(self, account_sid: str | None = None, limit: int | None = None) -> list[UsageItem]:
        """Return accepted usage, as `all_installations` does."""
        owned, values = _owned_by(account_sid, limit)
        rows = self._db.execute(
            f"SELECT account_sid, installed_add_on_sid, sid, quantity FROM usage WHERE {owned}",
            values,
        )
        return [UsageItem(*row) for row in rows.fetchall()]


def _name_taken(error: ConstraintError) -> Exception:
    return NameTaken() if "unique_name" in str(error) else error


def _owned_by(account_sid: str | None, limit: int | None) -> tuple[str, list[object]]:
    maximum = -1 if limit is None else limit
    if account_sid is None:
        return "TRUE ORDER BY seq LIMIT ?", [maximum]
    return "account_sid = ? ORDER BY seq LIMIT ?", [account_sid, maximum]


def _json(configuration: dict[str, Any]) -> str:
    return msgspec.json.encode(configuration).decode()


def new_sid(prefix: str) -> str:
    """Return a new random SID."""
    return prefix + secrets.token_hex(16)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

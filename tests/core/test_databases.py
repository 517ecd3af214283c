"""SQLite files of the package: identified before the first byte is written."""

import errno
import gc
import os
import random
import re
import sqlite3
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import attrs
import pytest
from support.paths import PROJECT

from marketplace_async._core.databases import (
    ConstraintError,
    Database,
    FileKind,
    is_ours,
    open_database,
)
from marketplace_async.emulator import store
from marketplace_async.fleet import outputs
from marketplace_async.fleet._engine import journal

KINDS = [journal.JOURNAL, outputs.INVENTORY, store._STATE]
PAGE = 4096


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> FileKind:
    found: FileKind = request.param
    return found


def database(file: Path, *statements: str) -> None:
    with sqlite3.connect(file) as db:
        for statement in statements:
            db.execute(statement)
    db.close()


def crm(file: Path) -> None:
    """Another program's database, with tables that have our names."""
    database(
        file,
        "CREATE TABLE accounts (sid TEXT PRIMARY KEY, owner TEXT)",
        "CREATE TABLE installed_add_ons (sid TEXT)",
        "INSERT INTO accounts VALUES ('customer-1', 'ann')",
    )


def in_use(file: Path) -> None:
    """Another program's database, killed while it wrote to the write-ahead log."""
    program = (
        "import os, sqlite3, sys\n"
        "db = sqlite3.connect(sys.argv[1])\n"
        "db.execute('PRAGMA journal_mode = WAL')\n"
        "db.execute('CREATE TABLE accounts (sid TEXT)')\n"
        "db.commit()\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", program, file], check=True)
    assert file.with_name(f"{file.name}-wal").stat().st_size > 0


def with_its_own_id(file: Path) -> None:
    database(file, "PRAGMA application_id = 252006675", "CREATE TABLE job (x)")  # Fossil


def without_tables(file: Path) -> None:
    database(file, "PRAGMA user_version = 7", "VACUUM")


def text(file: Path) -> None:
    file.write_text("account_sid,auth_token\n" * 100)


def a_few_bytes(file: Path) -> None:
    file.write_bytes(b"SQLite format 3\0")


def noise(file: Path) -> None:
    file.write_bytes(b"SQLite format 3\0" + random.Random(1).randbytes(3 * PAGE))


FOREIGN = [crm, in_use, with_its_own_id, without_tables, text, a_few_bytes, noise]


def contents(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    """Return the content, the modification time and the mode of every file in a folder."""
    return {
        file.name: (file.read_bytes(), file.stat().st_mtime_ns, file.stat().st_mode)
        for file in folder.iterdir()
    }


@pytest.mark.parametrize("write", FOREIGN)
def test_a_file_of_another_program_is_rejected_and_left_unchanged(
    tmp_path: Path, kind: FileKind, write: Callable[[Path], None]
) -> None:
    file = tmp_path / "other.db"
    write(file)
    before = contents(tmp_path)
    with pytest.raises(kind.error, match=rf"^{file} is not {kind.name}.*left unchanged: pass ano"):
        open_database(file, kind)
    with pytest.raises(kind.error):
        is_ours(file, kind)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("other", KINDS, ids=lambda kind: kind.name)
def test_a_file_of_another_kind_of_ours_is_rejected(
    tmp_path: Path, kind: FileKind, other: FileKind
) -> None:
    file = tmp_path / "ours.db"
    open_database(file, other).close()
    before = contents(tmp_path)
    if kind is other:
        open_database(file, kind).close()
    else:
        with pytest.raises(kind.error, match=f"is not {kind.name}; it was left unchanged"):
            open_database(file, kind)
        assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (99, r"a later version of marketplace_async \(format 99, expected \d\).*upgrade the pack"),
        (
            0,
            r"an earlier version of marketplace_async \(format 0, expected \d\).*move the file",
        ),
    ],
)
def test_a_file_of_another_version_is_rejected_and_left_unchanged(
    tmp_path: Path, kind: FileKind, version: int, message: str
) -> None:
    file = tmp_path / "ours.db"
    open_database(file, attrs.evolve(kind, version=version)).close()
    before = contents(tmp_path)
    with pytest.raises(kind.error, match=message):
        open_database(file, kind)
    assert contents(tmp_path) == before


def test_a_file_of_the_first_version_is_named_as_such(tmp_path: Path, kind: FileKind) -> None:
    file = tmp_path / "first.db"
    database(file, *(f"CREATE TABLE {table} (sid TEXT)" for table in kind.first_tables))
    with pytest.raises(kind.error, match="an earlier version of marketplace_async"):
        open_database(file, kind)


@pytest.mark.parametrize("exists", [False, True])
def test_a_missing_or_empty_file_is_a_new_one_and_private(
    tmp_path: Path, kind: FileKind, exists: bool
) -> None:
    file = tmp_path / "new.db"
    if exists:
        file.touch(0o644)
    db = open_database(file, kind)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    assert db.created is not exists
    db.close()
    assert [path.name for path in tmp_path.iterdir()] == ["new.db"]
    assert is_ours(file, kind)
    header = file.read_bytes()[:100]
    assert int.from_bytes(header[68:72]) == kind.application_id
    assert int.from_bytes(header[60:64]) == kind.version


def links(folder: Path) -> Iterator[Path]:
    target = folder / "target.db"
    target.touch()
    for name, to in (("link", target), ("dangling", folder / "nowhere")):
        (folder / name).symlink_to(to)
        yield folder / name


def test_a_file_that_is_not_a_regular_file_is_rejected(tmp_path: Path, kind: FileKind) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for path, word in (("pipe", "a pipe"), ("folder", "a directory"), ("/dev/null", "a device")):
        with pytest.raises(OSError, match=f"is {word}: expected the path of a regular file"):
            open_database(tmp_path / path, kind)
    for link in links(tmp_path):
        with pytest.raises(OSError, match=r"is a symbolic link to .*links are not written through"):
            open_database(link, kind)
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(OSError, match=r"the directory .*gone does not exist"):
        open_database(tmp_path / "gone" / "x.db", kind)


def filled(file: Path, kind: FileKind) -> None:
    """Create a file with some pages of rows."""
    table, columns = {
        "a journal": ("accounts", "(sid, records)"),
        "an inventory": ("installed_add_ons", "(sid, account_sid)"),
        "a state file of the emulator": ("usage", ""),
    }[kind.name]
    values = "NULL, ?, 'b', 'c', 'd'" if kind is store._STATE else "?, 1"
    with open_database(file, kind) as db, db.transaction():
        rows = [(f"{number:060}",) for number in range(4000)]
        db.executemany(f"INSERT INTO {table} {columns} VALUES ({values})", rows)
    db.close()


def damaged(file: Path, generator: random.Random) -> None:
    """Overwrite a few pages, but not the first."""
    pages = file.stat().st_size // PAGE
    with file.open("r+b") as stream:
        for page in generator.sample(range(1, pages), pages // 3):
            stream.seek(page * PAGE)
            stream.write(generator.randbytes(PAGE))


def check(file: Path, kind: FileKind) -> None:
    with closing(open_database(file, kind)) as db:
        db.check()


def read_all(file: Path, kind: FileKind) -> None:
    with closing(open_database(file, kind)) as db:
        for _ in all_rows(db):
            pass


def all_rows(db: Database) -> Iterator[object]:
    for table in ("accounts", "installed_add_ons", "usage"):
        if db.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone():
            yield from db.execute(f"SELECT * FROM {table}")


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("truncated", [False, True])
def test_a_damaged_file_ends_in_one_sentence_that_names_it(
    tmp_path: Path, kind: FileKind, seed: int, truncated: bool
) -> None:
    file = tmp_path / "damaged.db"
    filled(file, kind)
    if truncated:
        os.truncate(file, random.Random(seed).randrange(100, file.stat().st_size - PAGE))
    else:
        damaged(file, random.Random(seed))
    with pytest.raises(kind.error, match=rf"^{file} is (damaged|not {kind.name}).*(move|pass)"):
        check(file, kind)
    with pytest.raises(kind.error, match=rf"^{file} is (damaged|not {kind.name})"):
        read_all(file, kind)


def test_a_file_is_locked_until_it_is_closed(tmp_path: Path) -> None:
    file, kind = tmp_path / "locked.db", journal.JOURNAL
    first = open_database(file, kind, exclusive=True)
    program = (
        "import sys, pathlib\n"
        "from marketplace_async.fleet._engine.journal import Journal\n"
        "Journal(pathlib.Path(sys.argv[1])).close()\n"
    )

    def elsewhere() -> str:
        command = [sys.executable, "-c", program, str(file)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        return ended.stderr

    with pytest.raises(kind.error, match="another job is using this file"):
        open_database(file, kind, exclusive=True, timeout=0.1)
    # A look at the file from this process has not released the lock.
    assert is_ours(file, kind)
    assert "another job is using this file" in elsewhere()
    first.close()
    assert elsewhere() == ""


def test_a_file_that_was_deleted_while_it_was_opened_is_not_used(
    tmp_path: Path, kind: FileKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "x.db"
    open_database(file, kind).close()
    execute = Database.execute

    def deleting(db: Database, sql: str, parameters: object = (), /) -> object:
        if sql == "BEGIN IMMEDIATE":
            file.unlink(missing_ok=True)
        return execute(db, sql, parameters)

    monkeypatch.setattr(Database, "execute", deleting)
    with pytest.raises(kind.error, match="is using this file"):
        open_database(file, kind)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_completed_is_not_left_behind(tmp_path: Path, kind: FileKind) -> None:
    wrong = attrs.evolve(kind, schema=(*kind.schema, "CREATE TABLE"))
    with pytest.raises(kind.error):
        open_database(tmp_path / "x.db", wrong)
    assert list(tmp_path.iterdir()) == []
    existing = tmp_path / "empty.db"
    existing.touch()
    with pytest.raises(kind.error):
        open_database(existing, wrong)
    assert existing.exists()  # it was there before


def test_a_transaction_is_rolled_back_however_it_ends(tmp_path: Path) -> None:
    kind = FileKind(
        name="a test file",
        application_id=1,
        version=1,
        schema=(
            "CREATE TABLE t (a INTEGER PRIMARY KEY CHECK (a < 5)) STRICT",
            "CREATE TABLE u (a REFERENCES t DEFERRABLE INITIALLY DEFERRED)",
        ),
        pragmas=("foreign_keys = ON",),
        error=RuntimeError,
    )
    db = open_database(tmp_path / "x.db", kind)

    def insert(*values: int, error: Exception | None = None) -> None:
        with db.transaction():
            for value in values:
                db.execute("INSERT INTO t VALUES (?)", (value,))
            if error is not None:
                raise error

    def insert_dangling() -> None:
        with db.transaction():
            db.execute("INSERT INTO u VALUES (1)")

    with pytest.raises(ConstraintError, match="CHECK constraint failed"):
        insert(1, 9)
    with pytest.raises(ConstraintError, match="FOREIGN KEY"):
        insert_dangling()  # fails when it is committed
    with pytest.raises(KeyError):
        insert(1, error=KeyError())
    assert not db.in_transaction
    assert db.execute("SELECT * FROM t UNION SELECT * FROM u").fetchall() == []
    db.close()


@pytest.mark.parametrize(
    ("code", "expected", "number"),
    [
        (sqlite3.SQLITE_FULL, OSError, errno.ENOSPC),
        (sqlite3.SQLITE_IOERR | (3 << 8), OSError, errno.EIO),
        (sqlite3.SQLITE_READONLY, OSError, errno.EROFS),
        (sqlite3.SQLITE_CANTOPEN, OSError, errno.EACCES),
        (sqlite3.SQLITE_BUSY, KeyError, None),
        (sqlite3.SQLITE_CORRUPT, KeyError, None),
        (sqlite3.SQLITE_NOTADB, KeyError, None),
        (sqlite3.SQLITE_TOOBIG, KeyError, None),
        (sqlite3.SQLITE_CONSTRAINT, ConstraintError, None),
        (0, RuntimeError, None),
    ],
)
def test_every_error_of_sqlite_is_translated(
    tmp_path: Path, code: int, expected: type[Exception], number: int | None
) -> None:
    kind = FileKind(name="a test file", application_id=1, version=1, schema=(), error=KeyError)
    db = open_database(tmp_path / "x.db", kind)
    error = sqlite3.OperationalError("the reason")
    if code:
        error.sqlite_errorcode = code
    translated = db.translated(error)
    db.close()
    assert type(translated) is expected or isinstance(translated, OSError)
    assert not isinstance(translated, sqlite3.Error)
    if isinstance(translated, OSError):
        assert (translated.errno, translated.filename) == (number, str(tmp_path / "x.db"))


def test_only_this_module_uses_sqlite() -> None:
    package = PROJECT / "marketplace_async"
    using = [
        str(file.relative_to(package))
        for file in package.rglob("*.py")
        if re.search("^ *(import|from) sqlite3", file.read_text(), re.MULTILINE)
    ]
    assert using == ["_core/databases.py"]


def test_a_reader_that_was_dropped_without_closing_it_keeps_no_journal_locked(
    tmp_path: Path,
) -> None:
    file = tmp_path / "journal"
    with journal.Journal(file) as opened:
        opened.begin({"job": "apply"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        assert sqlite3.connect(file).execute("SELECT count(*) FROM writes").fetchone() == (0,)
        journal.Journal(file).close()


def test_a_lock_that_is_released_while_another_connection_waits_in_vain_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "journal"
    with journal.Journal(file) as opened:
        opened.begin({"job": "apply"})
    reader = sqlite3.connect(file)
    reader.execute("SELECT count(*) FROM writes").fetchone()

    def collect() -> int:
        # The collector has run by itself, and has nothing left to do.
        reader.close()
        return 0

    monkeypatch.setattr(gc, "collect", collect)
    journal.Journal(file).close()

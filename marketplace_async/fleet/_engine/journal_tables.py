"""The tables of a journal."""

from typing import Final

TABLES: Final = (
    "CREATE TABLE job (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT",
    """CREATE TABLE accounts (
        sid TEXT PRIMARY KEY,
        friendly_name TEXT,
        records INTEGER NOT NULL,
        -- Class and message of the error; NULL if the account did not fail.
        error TEXT,
        message TEXT
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE plans (
        account_sid TEXT PRIMARY KEY,
        -- The whole plan, as JSON.
        steps TEXT NOT NULL
    ) STRICT, WITHOUT ROWID""",
    # All runs and their writes, kept as an audit log. It contains no secrets.
    """CREATE TABLE runs (
        run TEXT PRIMARY KEY,
        begun TEXT NOT NULL,
        -- The credentials, such as a profile, and user@host.
        credentials TEXT,
        user TEXT NOT NULL,
        -- The digest of the desired state.
        desired TEXT NOT NULL,
        -- For how many seconds workers may still write if the process of the run dies. NULL if
        -- none can.
        workers_write_for REAL,
        -- The process of the run is alive until this time, which it extends while it runs.
        alive_until TEXT
    ) STRICT""",
    """CREATE TABLE writes (
        run TEXT NOT NULL,
        account_sid TEXT NOT NULL,
        step TEXT NOT NULL,
        begun TEXT NOT NULL,
        ended TEXT,
        outcome TEXT NOT NULL DEFAULT 'begun',
        installed_add_on_sid TEXT,
        message TEXT,
        friendly_name TEXT,
        -- The step as it was approved, as JSON.
        planned TEXT NOT NULL,
        -- The configurations that were overwritten and sent, as JSON with secrets masked.
        before TEXT,
        after TEXT,
        -- How often the run handed the account to a worker.
        handouts INTEGER NOT NULL DEFAULT 1,
        PRIMARY KEY (run, account_sid, step)
    ) STRICT""",  # rows keep the order of the steps
    "CREATE INDEX open_writes ON writes (run) WHERE outcome = 'begun'",
)

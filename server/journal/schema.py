"""The tables of `journal.sqlite`. A round counts when its row in `rounds` is committed, an update when its is."""

from __future__ import annotations

SCHEMA_VERSION = 1

TABLES = """
CREATE TABLE study (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    run TEXT NOT NULL, digest TEXT NOT NULL, code_version TEXT NOT NULL, toml TEXT NOT NULL, settings TEXT NOT NULL
) STRICT;
CREATE TABLE roster (site TEXT PRIMARY KEY, node TEXT NOT NULL, signing_key TEXT) STRICT;
CREATE TABLE plan (id INTEGER PRIMARY KEY CHECK (id = 1), plan TEXT NOT NULL, greys TEXT NOT NULL) STRICT;
CREATE TABLE attempts (
    stage TEXT NOT NULL, round INTEGER NOT NULL, attempts INTEGER NOT NULL, PRIMARY KEY (stage, round)
) STRICT;
CREATE TABLE updates (
    stage TEXT NOT NULL, round INTEGER NOT NULL, site TEXT NOT NULL, attempt INTEGER NOT NULL,
    global_sha256 TEXT NOT NULL, sha256 TEXT NOT NULL, path TEXT NOT NULL, patients TEXT NOT NULL, entry TEXT NOT NULL,
    PRIMARY KEY (stage, round, site),
    FOREIGN KEY (stage, round) REFERENCES attempts (stage, round)
) STRICT;
CREATE TABLE rounds (
    position INTEGER PRIMARY KEY, stage TEXT NOT NULL, round INTEGER NOT NULL, record TEXT NOT NULL,
    UNIQUE (stage, round)
) STRICT;
CREATE TABLE states (
    stage TEXT NOT NULL, round INTEGER NOT NULL, name TEXT NOT NULL, path TEXT NOT NULL, sha256 TEXT NOT NULL,
    PRIMARY KEY (stage, round, name),
    FOREIGN KEY (stage, round) REFERENCES rounds (stage, round)
) STRICT;
CREATE TABLE faults (
    id INTEGER PRIMARY KEY, stage TEXT, round INTEGER NOT NULL, site TEXT NOT NULL, code TEXT NOT NULL, at TEXT NOT NULL
) STRICT;
CREATE TABLE withdrawals (
    id INTEGER PRIMARY KEY, site TEXT NOT NULL, patients INTEGER, rounds TEXT, at TEXT NOT NULL
) STRICT;
CREATE TABLE requests (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL CHECK (kind IN ('pause', 'resume', 'stop')), at TEXT NOT NULL,
    acted_at TEXT
) STRICT;
CREATE TABLE releases (digest TEXT PRIMARY KEY, at TEXT NOT NULL) STRICT;
CREATE TABLE result (id INTEGER PRIMARY KEY CHECK (id = 1), result TEXT NOT NULL) STRICT;
"""

"""The two tables that budgets and circuits live in, for tests that need no more of the schema."""

from __future__ import annotations

import sqlalchemy as sa

STATEMENTS = (
    "CREATE SCHEMA IF NOT EXISTS ops",
    "CREATE TABLE IF NOT EXISTS ops.rate_lease (system text NOT NULL, at timestamptz NOT NULL,"
    " tokens integer NOT NULL, bulk boolean NOT NULL DEFAULT false)",
    "CREATE INDEX IF NOT EXISTS rate_lease_system_at ON ops.rate_lease (system, at)",
    "CREATE TABLE IF NOT EXISTS ops.circuit (system text PRIMARY KEY, state text NOT NULL, failures integer NOT NULL"
    " DEFAULT 0, opened_at timestamptz, updated_at timestamptz NOT NULL DEFAULT now())",
)


def create(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        for statement in STATEMENTS:
            connection.execute(sa.text(statement))

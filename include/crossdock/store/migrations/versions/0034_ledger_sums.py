"""Sums of the ledger's lines, kept by the database itself with every change of a line or of an entry."""

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None

# A text that is longer than TIMS's contract allows stands shortened, with its digest: it still fits into an index.
BRIEF = """
CREATE FUNCTION ref.brief(given text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN octet_length(given) > 400 THEN left(given, 60) || ' ' || md5(given) ELSE coalesce(given, '') END
$$;
"""

# Writers of the ledger take turns here, in whatever order they come to the same sums.
ADD = """
CREATE FUNCTION ref.add_to_sums(changes ref.ledger_sku_day[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF changes IS NULL THEN
    RETURN;
  END IF;
  PERFORM pg_advisory_xact_lock(hashtext('ref.ledger_day'));
  INSERT INTO ref.ledger_day AS kept (posting_date, currency_code, account_code, channel, debit, credit, lines)
  SELECT posting_date, currency_code, account_code, channel, sum(debit), sum(credit), sum(lines)
  FROM unnest(changes) GROUP BY posting_date, currency_code, account_code, channel
  ON CONFLICT (posting_date, currency_code, account_code, channel) DO UPDATE
  SET debit = kept.debit + excluded.debit, credit = kept.credit + excluded.credit, lines = kept.lines + excluded.lines;
  INSERT INTO ref.ledger_sku_day AS kept
    (month, channel, sku, currency_code, account_code, posting_date, debit, credit, lines)
  SELECT month, channel, sku, currency_code, account_code, posting_date, sum(debit), sum(credit), sum(lines)
  FROM unnest(changes) GROUP BY month, channel, sku, currency_code, account_code, posting_date
  ON CONFLICT (month, channel, sku, currency_code, account_code, posting_date) DO UPDATE
  SET debit = kept.debit + excluded.debit, credit = kept.credit + excluded.credit, lines = kept.lines + excluded.lines;
  IF EXISTS (SELECT FROM unnest(changes) WHERE lines < 0) THEN
    DELETE FROM ref.ledger_day AS kept USING unnest(changes) AS gone
    WHERE kept.lines = 0 AND kept.posting_date = gone.posting_date AND kept.currency_code = gone.currency_code
      AND kept.account_code = gone.account_code AND kept.channel = gone.channel;
    DELETE FROM ref.ledger_sku_day AS kept USING unnest(changes) AS gone
    WHERE kept.lines = 0 AND kept.month = gone.month AND kept.currency_code = gone.currency_code
      AND kept.channel = gone.channel AND kept.sku = gone.sku AND kept.account_code = gone.account_code
      AND kept.posting_date = gone.posting_date;
  END IF;
END $$;
"""

SUMS = """
SELECT date_trunc('month', e.posting_date)::date, ref.brief(l.channel), ref.brief(l.sku), e.currency_code,
       l.account_code, e.posting_date, {sign}sum(l.debit), {sign}sum(l.credit), {sign}count(*)
FROM {entries} AS e JOIN {lines} AS l ON l.entry_id = e.id
{where} GROUP BY 1, 2, 3, 4, 5, 6
"""


def changes(sign: str, entries: str, lines: str, where: str = "") -> str:
    summed = SUMS.format(sign=sign, entries=entries, lines=lines, where=where)
    row = "ROW(c.month, c.channel, c.sku, c.currency, c.account, c.day, c.debit, c.credit, c.lines)"
    names = "month, channel, sku, currency, account, day, debit, credit, lines"
    return f"PERFORM ref.add_to_sums((SELECT array_agg({row}::ref.ledger_sku_day) FROM ({summed}) AS c ({names})));"


# Of the entries those count whose day or currency has changed.
MOVED = (
    "WHERE NOT EXISTS (SELECT FROM {} AS o WHERE o.id = e.id AND o.posting_date = e.posting_date "
    "AND o.currency_code = e.currency_code)"
)
KEEP = f"""
CREATE FUNCTION ref.sum_lines() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'TRUNCATE' THEN
    DELETE FROM ref.ledger_day;
    DELETE FROM ref.ledger_sku_day;
    RETURN NULL;
  END IF;
  IF TG_OP <> 'INSERT' THEN {changes("-", "ref.gl_entry", "removed")} END IF;
  IF TG_OP <> 'DELETE' THEN {changes("", "ref.gl_entry", "added")} END IF;
  RETURN NULL;
END $$;
CREATE FUNCTION ref.sum_entries() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN {changes("-", "removed", "ref.gl_entry_line")} END IF;
  IF TG_OP = 'INSERT' THEN {changes("", "added", "ref.gl_entry_line")} END IF;
  IF TG_OP = 'UPDATE' THEN
    {changes("-", "removed", "ref.gl_entry_line", MOVED.format("added"))}
    {changes("", "added", "ref.gl_entry_line", MOVED.format("removed"))}
  END IF;
  RETURN NULL;
END $$;
"""
TABLES = (("gl_entry_line", "sum_lines"), ("gl_entry", "sum_entries"))
EVENTS = (
    ("INSERT", "REFERENCING NEW TABLE AS added"),
    ("UPDATE", "REFERENCING OLD TABLE AS removed NEW TABLE AS added"),
    ("DELETE", "REFERENCING OLD TABLE AS removed"),
)

FILL = f"""
CREATE FUNCTION ref.fill_sums() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('ref.ledger_day'));
  DELETE FROM ref.ledger_day;
  DELETE FROM ref.ledger_sku_day;
  INSERT INTO ref.ledger_sku_day {SUMS.format(sign="", entries="ref.gl_entry", lines="ref.gl_entry_line", where="")};
  INSERT INTO ref.ledger_day
  SELECT posting_date, currency_code, account_code, channel, sum(debit), sum(credit), sum(lines)
  FROM ref.ledger_sku_day GROUP BY posting_date, currency_code, account_code, channel;
END $$;
SELECT ref.fill_sums();
"""

READERS = """
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'crossdock_reader') THEN
    GRANT SELECT ON ref.ledger_day, ref.ledger_sku_day TO crossdock_reader;
  END IF;
END $$
"""


def upgrade() -> None:
    amount = sa.Numeric(38, 4)
    op.create_table(
        "ledger_day",
        sa.Column("posting_date", sa.Date(), nullable=False),
        sa.Column("currency_code", sa.Text(), nullable=False),
        sa.Column("account_code", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False, comment="Empty: lines without one"),
        sa.Column("debit", amount, nullable=False),
        sa.Column("credit", amount, nullable=False),
        sa.Column("lines", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("posting_date", "currency_code", "account_code", "channel", name="pk_ledger_day"),
        schema="ref",
        comment="Sum of the lines of one day, currency, account and channel; kept by triggers",
    )
    op.create_table(
        "ledger_sku_day",
        sa.Column("month", sa.Date(), nullable=False, comment="First day of the month"),
        sa.Column("channel", sa.Text(), nullable=False, comment="Empty: lines without one"),
        sa.Column("sku", sa.Text(), nullable=False, comment="Empty: lines without one"),
        sa.Column("currency_code", sa.Text(), nullable=False),
        sa.Column("account_code", sa.Text(), nullable=False),
        sa.Column("posting_date", sa.Date(), nullable=False),
        sa.Column("debit", amount, nullable=False),
        sa.Column("credit", amount, nullable=False),
        sa.Column("lines", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "month", "channel", "sku", "currency_code", "account_code", "posting_date",
            name="pk_ledger_sku_day", postgresql_include=["debit", "credit"],
        ),
        schema="ref",
        comment="Sum of the lines of one day, currency, account, channel and SKU; kept by triggers",
    )  # fmt: skip
    op.execute("LOCK TABLE ref.gl_entry, ref.gl_entry_line IN SHARE ROW EXCLUSIVE MODE")  # until the triggers stand
    for statement in (BRIEF, FILL, ADD, KEEP, READERS):
        op.execute(statement)
    for table, function in TABLES:
        for event, given in EVENTS:
            op.execute(
                f"CREATE TRIGGER sums_{event.lower()} AFTER {event} ON ref.{table} {given} "
                f"FOR EACH STATEMENT EXECUTE FUNCTION ref.{function}()"
            )
        op.execute(
            f"CREATE TRIGGER sums_truncate AFTER TRUNCATE ON ref.{table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION ref.sum_lines()"
        )

    op.create_index(
        "ix_gl_entry_line_order_id", "gl_entry_line", ["order_id"], schema="ref",
        postgresql_where=sa.text("order_id IS NOT NULL"),
    )  # fmt: skip


def downgrade() -> None:
    op.drop_index("ix_gl_entry_line_order_id", "gl_entry_line", schema="ref")
    for table, _ in TABLES:
        for event in ("insert", "update", "delete", "truncate"):
            op.execute(f"DROP TRIGGER sums_{event} ON ref.{table}")
    for function in ("sum_entries()", "sum_lines()", "add_to_sums(ref.ledger_sku_day[])", "fill_sums()", "brief(text)"):
        op.execute(f"DROP FUNCTION ref.{function}")
    for name in ("ledger_sku_day", "ledger_day"):
        op.drop_table(name, schema="ref")

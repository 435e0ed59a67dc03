"""Stages the stock adjustments of a batch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crossdock.flow import Staged
from crossdock.flows import unreadable
from crossdock.flows.returns.transform import company
from crossdock.mapping import language, problems
from crossdock.mapping.frames import ROW, Frames
from crossdock.mapping.parse import Parsed
from crossdock.reference.lookups import Lookups
from crossdock.rules import movements
from crossdock.rules import settings as rule_settings
from crossdock.rules.movements import MovementContext
from crossdock.steps.files import refused_files
from crossdock.store import database, registry, sql
from crossdock.store.tables import ref_item, stage_stock_adjustment
from crossdock.systems import stock_files

NAME = "stock_adjustments"
COLUMNS = registry.fields(stage_stock_adjustment)


# ---- transform -----------------------------------------------------------------------------------------------------


def transform(connection: sa.Connection, parsed: Parsed, keys: Sequence[str], altered: Sequence[str | None]) -> Staged:
    """The staged adjustments of a batch."""
    given = parsed.frames.header
    kept = pd.Series([keys[position] for position in parsed.kept], dtype="str")
    also = ("state", "reason", "OriginalEventDate")
    made = language.load("stock_adjustment").apply(parsed.frames, load_context(connection), also)
    header = made.source.header
    refused, judged = (header["state"].eq(name).to_numpy(dtype=bool) for name in ("dead", "staged"))
    found = problems.concat([made.problems, made.errors])
    found = problems.concat([found[judged[found[ROW].to_numpy()]], _refusals(given, refused)])
    staged = pd.DataFrame(
        {
            "key": kept,
            "state": header["state"],
            "reason": header["reason"],
            "content_hash": _content(given),
            **{name: made.target.header[name] for name in COLUMNS},
            "OriginalEventDate": header["OriginalEventDate"],
            "File": given["File"],
        }
    )
    staged, changes = _as_posted(connection, staged)
    staged, found = unreadable.joined(staged, problems.concat([found, changes]), parsed, keys)
    return Staged(
        staged,
        staged.iloc[:0],
        found,
        refused_files(given, kept, refused & _whole_files(given), NAME),
    )


def load_context(connection: sa.Connection) -> MovementContext:
    """Reads what the rules need besides the records."""
    zone, periods = company(connection)
    settings = rule_settings.load()
    reference = Lookups(connection, settings.shared_above)
    return MovementContext(reference, settings, zone, periods, movements.read_reasons())


def _whole_files(given: pd.DataFrame) -> np.ndarray:
    """Whether a record stands for a whole file."""
    return given["Reference"].str.startswith(stock_files.WHOLE).fillna(False).to_numpy(dtype=bool)


def _refusals(given: pd.DataFrame, refused: np.ndarray) -> pd.DataFrame:
    """Makes the problems of records that the reader refused, in its own words."""
    return problems.concat(
        problems.make(
            [at],
            field="File",
            rule=given["RefusedFor"].iloc[at],
            value=given["File"].iloc[at],
            message=given["RefusedSays"].iloc[at],
            do=given["RefusedDo"].iloc[at],
        )
        for at in np.flatnonzero(refused)
    )


def _content(given: pd.DataFrame) -> pd.Series:
    """Hashes the movement, without its file and memo."""
    stated = given[["OccurredAt", "SKU", "LocationID", "Quantity", "Reason"]].astype("str").fillna("")
    texts = zip(*(stated[name].tolist() for name in stated), strict=True)
    return pd.Series([hashlib.sha256(repr(text).encode()).hexdigest()[:32] for text in texts], dtype="str")


_POSTED = sql.statement(__package__, "posted")


def _as_posted(connection: sa.Connection, staged: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Puts posted movements back as they were sent; a problem where the movement has changed since."""
    posted = list(connection.scalars(_POSTED, {"keys": staged["key"].tolist()}))
    names = ("content_hash", *COLUMNS, "OriginalEventDate")
    table = stage_stock_adjustment
    held = database.copy_out(
        connection, sa.select(table.c.key, *(table.c[name] for name in names)).where(table.c.key.in_(posted))
    ).set_index("key")
    at = np.flatnonzero(staged["key"].isin(held.index).to_numpy() & staged["state"].eq("staged").to_numpy())
    keys = staged["key"].iloc[at].tolist()
    changed = at[(staged["content_hash"].iloc[at].to_numpy() != held["content_hash"].reindex(keys).to_numpy())]
    units = staged["QuantityDelta"].iloc[changed].tolist()
    before = held["QuantityDelta"].reindex(staged["key"].iloc[changed]).tolist()
    found = problems.make(
        changed,
        field="Quantity",
        rule="changed_after_posting",
        value=[str(now) for now in units],
        message=[
            f"The movement has changed after it was posted: it moves {now} units, posted are {was}."
            for now, was in zip(units, before, strict=True)
        ],
        do="Reverse the adjustment in TIMS and send the movement under a new Reference, or dismiss this.",
    )
    for name in names:
        column = staged[name].copy()
        column.iloc[at] = held[name].reindex(keys).array
        staged[name] = column
    return staged, found


def enrich_for_checks(connection: sa.Connection, frames: Frames) -> Frames:
    """Adds the type of each item, for the checks."""
    staged = frames.header.copy()
    skus = staged["SKU"].dropna().unique().tolist()
    types = dict(connection.execute(sa.select(ref_item.c.sku, ref_item.c.type).where(ref_item.c.sku.in_(skus))).all())
    staged["item_type"] = staged["SKU"].map(types).astype("str")
    return Frames(staged, frames.lines)

"""Transform and load of flows whose documents follow from their mapping: a row for each record, sent as it is.

In: a mapping, a stage table, the flow's own judgement of records; its call. Out: `transform` and `load` of a flow.
Never: a rule that only one flow has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crossdock.errors import RecordRejected, Transient
from crossdock.flow import Flow, Staged, Transform, Work
from crossdock.flows import documents, unreadable
from crossdock.mapping import language, problems
from crossdock.mapping.frames import LINE, ROW
from crossdock.mapping.parse import Parsed
from crossdock.steps.load import Answer, answer_of, not_taken, put_each, read_ready, record_outcomes
from crossdock.steps.load.outcomes import TITLES
from crossdock.store import batches, database, deliveries, raw, registry
from crossdock.store.deliveries import Effect

if TYPE_CHECKING:
    from crossdock.runtime import Runtime

FORCED_KINDS = ("key", "replay")  # kinds of batches that are sent even if nothing has changed
TRIES = 5  # of a change that meets a newer version
NEVER_SENT = ("key", "problems", "state", "reason")  # columns of a stage table that `send` does not get

# Judges source records (rows with `key` and the rules' columns): `state` (staged, waiting, left_out), `reason`, and
# other columns of the stage table.
Judge = Callable[[sa.Connection, pd.DataFrame], pd.DataFrame]
# Sends a row and its body. Returns the id of the record in the target.
Write = Callable[["Runtime", dict[str, Any], bytes], str]


def everything(connection: sa.Connection, source: pd.DataFrame) -> pd.DataFrame:
    """Judges all records to be sent."""
    return pd.DataFrame({"state": "staged", "reason": np.nan}, index=source.index).astype("str")


def by_mapping(stage: sa.Table, judge: Judge = everything, lines: sa.Table | None = None) -> Transform:
    """Makes the transform of a flow whose documents the mapping of its stage table makes."""

    def transform(
        connection: sa.Connection, parsed: Parsed, keys: Sequence[str], altered: Sequence[str | None]
    ) -> Staged:
        frames = documents.keyed(parsed, keys)
        done = language.load(stage.info["mapping"]).apply(frames, None)
        source, target = done.source.header, done.target
        kept = source["key"].astype("str")
        made = pd.concat([kept.to_frame("key"), judge(connection, source)], axis=1)
        fields = list(registry.fields(stage))
        made[fields] = target.header[fields]
        below = pd.DataFrame(columns=["key", "position"])
        if lines is not None:
            below = target.lines.assign(key=kept.array.take(target.lines[ROW].to_numpy()), position=target.lines[LINE])
            below = below[["key", "position", *registry.fields(lines)]]
        made["content_hash"] = _content(kept, made[fields], below)
        sent = made["state"].eq("staged").to_numpy()
        found = problems.concat([done.problems, done.errors])
        found = found[sent[found[ROW].to_numpy()]].reset_index(drop=True)
        made, found = unreadable.joined(made, found, parsed, keys)
        return Staged(made, below[below["key"].isin(made.loc[made["state"].eq("staged"), "key"])], found)

    return transform


def _content(keys: pd.Series, fields: pd.DataFrame, lines: pd.DataFrame) -> pd.Series:
    """A hash of each document."""
    parts: dict[str, list[list[str]]] = {}
    for key, _, *values in lines.itertuples(index=False, name=None):
        parts.setdefault(key, []).append(list(map(str, values)))
    rows = zip(keys, fields.itertuples(index=False, name=None), strict=True)
    texts = (database.to_json([*map(str, row), parts.get(key, [])]) for key, row in rows)
    return pd.Series([raw.digest(text.encode()) for text in texts], dtype="str")


def one_by_one(advice: str, send: Write) -> Work:
    """Makes the load of a flow whose rows are single, idempotent calls. A row that was delivered last with the same
    content is unchanged and not sent, unless a person asks for it."""

    def load(runtime: Runtime, flow: Flow, batch_id: int) -> None:
        entity, own = flow.entity, [one.name for one in flow.stage.columns if one.name not in NEVER_SENT]
        with runtime.engine.begin() as connection:
            batch = batches.get(connection, batch_id)
            ready = read_ready(connection, batch_id, flow.mappings[0], flow.stage, flow.stage_lines, facts=own)
            rows = list(ready.rows())
            last = deliveries.links(connection, entity, [row["key"] for row, _ in rows])
            same = [row["key"] for row, _ in rows if batch.kind not in FORCED_KINDS and _is_delivered(row, last)]
            record_outcomes(connection, flow, batch, unchanged=same)
        rows = [one for one in rows if one[0]["key"] not in same]
        system = language.load(flow.mappings[0]).target[0]
        pending: list[str] = []

        def call(portion: Sequence[tuple[dict[str, Any], bytes]]) -> list[Answer]:
            ((row, body),) = portion
            try:
                return [Answer(target=send(runtime, row, body))]
            except (RecordRejected, Transient) as error:
                return [answer_of(error, do=advice, target=TITLES[system])]

        def keep(connection: sa.Connection, answered: Sequence[tuple[tuple[dict[str, Any], bytes], Answer]]) -> None:
            taken = [(row, answer) for (row, _), answer in answered if answer.taken]
            deliveries.link(connection, [_link(entity, batch_id, row, answer) for row, answer in taken])
            record_outcomes(
                connection, flow, batch,
                delivered=[row["key"] for row, _ in taken],
                refused={row["key"]: answer.refused for (row, _), answer in answered if answer.refused},
            )  # fmt: skip
            pending.extend(row["key"] for (row, _), answer in answered if answer.error)

        def effect(one: tuple[dict[str, Any], bytes]) -> Effect:
            key, content = one[0]["key"], one[0]["content_hash"]
            return Effect(entity, "update", key, f"{entity}:{key}:{one[0]['version'].isoformat()}:{content}", content)

        put_each(runtime, flow.name, batch_id, [[row] for row in rows], effect=effect, send=call, keep=keep)
        if pending:
            raise not_taken(len(pending), len(rows), f"records of {flow.name}", system)

    return load


def change_in_tims(runtime: Runtime, path: str, body: bytes) -> None:
    """Changes a document of TIMS as it is now. Raises Transient where others change it all the time."""
    for _ in range(TRIES):
        _, etag = runtime.tims.read(path)
        try:
            runtime.tims.patch(path, body, etag=etag)
        except RecordRejected as error:
            if error.code != "STALE_VERSION":
                raise
        else:
            return
    raise Transient(
        f"{path} is being changed by somebody else all the time.", do="Nothing to do: it is tried again.", system="tims"
    )


def _is_delivered(row: dict[str, Any], links: Mapping[str, sa.Row]) -> bool:
    """Whether the row's document was delivered last."""
    return row["key"] in links and links[row["key"]].content_hash == row["content_hash"]


def _link(entity: str, batch_id: int, row: dict[str, Any], answer: Answer) -> dict[str, Any]:
    return {
        "entity": entity, "source_key": row["key"], "target_id": answer.target, "version": row["version"],
        "content_hash": row["content_hash"], "batch_id": batch_id,
    }  # fmt: skip

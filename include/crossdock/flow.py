"""What a flow is: the shape that every flow fills in and the five steps work with.

In: nothing. Out: values and protocols. Never: a flow of its own.

"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

import msgspec
import pandas as pd
import sqlalchemy as sa

from crossdock.mapping.frames import Frames
from crossdock.mapping.parse import Parsed

if TYPE_CHECKING:
    from crossdock.runtime import Runtime


SOURCE = "Crossdock"  # of the documents that we post to TIMS; (Source, ExternalReference) is unique there for ever


@dataclass(frozen=True)
class RecordKey:
    """What extract reads of a record: who it is and when it last changed. Nothing else is parsed."""

    key: str
    version: str  # RFC 3339, as received
    truncated: bool = False  # the list did not give all of it
    same: bytes | None = None  # what makes it the same record again; None: every byte of it


class Merge(Protocol):
    """Copies the records of a batch into `ref`: all of them, or those with these keys. A snapshot has no batch."""

    def __call__(self, connection: sa.Connection, batch_id: int | None, keys: Sequence[str] | None = None) -> None: ...


@dataclass(frozen=True)
class Resource:
    """One list of one system, and the raw table that keeps it. Whoever reads the list names it: each flow that works
    its records has a queue of its own, and so has the reference data that are made of them."""

    system: str  # channel_advisor, tims, inbox (files) or settlement_ledger (our own verified records)
    path: str  # as the client's `pages` takes it
    raw: sa.Table
    read_key: Callable[[msgspec.Raw], RecordKey]
    document: str  # schema name in the system's contract
    overlap: timedelta  # how far a scheduled read goes back behind its watermark: late rows, clocks
    lag: timedelta  # how long after its change a row may still be invisible: the watermark stays behind by as much
    merge: Merge | None = None  # what is looked up of it: copies a batch into `ref`
    single: bool = False  # one document at the path, no list
    # Records a COPY: enough to be bulk, few enough for reading and writing to overlap; one where it is a whole file.
    at_once: int = 500
    one: str = ""  # path of a single record of TIMS with "{key}" in it, where that is not below the list
    # A master that only some configurations need: whether this one does.
    wanted: Callable[[], bool] | None = None
    ids: tuple[str, ...] = ()  # fields of a record that name it, for one whose head cannot be read
    # Fields of a record that are ours, or that move with our own writes: a version that differs in nothing else than
    # these, and in what a write has just set, is our own.
    own: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.system}.{self.path}"

    @property
    def contract(self) -> str:
        """The contract that names `document`: what files become is a document of our own."""
        return "crossdock" if self.system in ("inbox", "settlement_ledger") else self.system


@dataclass
class Staged:
    """What a flow's transform makes of a batch.

    `header`: one row per record with `key`, `state` (staged, waiting, left_out, dead), `reason`, `content_hash` and the
    target columns of the stage table; `lines`: target lines with `key` and `position`. `problems` as in
    `crossdock.mapping.problems`, `_row` pointing into `header`.
    """

    header: pd.DataFrame
    lines: pd.DataFrame
    problems: pd.DataFrame
    alerts: list[dict] = field(default_factory=list)


class Transform(Protocol):
    """`parsed`: what `mapping.parse` made of the batch; `keys` and `altered` are aligned to its payloads."""

    def __call__(
        self, connection: sa.Connection, parsed: Parsed, keys: Sequence[str], altered: Sequence[str | None]
    ) -> Staged: ...


class Work(Protocol):
    """One step's work on a batch of the flow."""

    def __call__(self, runtime: Runtime, flow: Flow, batch_id: int, /) -> None: ...


def as_they_are(connection: sa.Connection, frames: Frames) -> Frames:
    """Gives the checks nothing but the staged rows themselves."""
    return frames


def nothing_to_confirm(runtime: Runtime, flow: Flow, batch_id: int, /) -> None:
    """Confirm of a flow whose source needs no word back."""


@dataclass(frozen=True, kw_only=True)
class Flow:
    """One flow. `load` and `confirm` work the rows of a batch that are ready, or delivered and not yet confirmed."""

    name: str
    title: str
    entity: str
    source: Resource
    reference: tuple[Resource, ...] = ()
    lines_path: str = ""  # array of lines in the source document; "" where it has none
    stage: sa.Table
    stage_lines: sa.Table | None = None  # None where the target document has no lines
    mappings: tuple[str, ...]  # files in include/config/mappings
    transform: Transform
    suite: str  # file in include/config/checks
    # Adds to staged rows what the suite looks at.
    enrich_for_checks: Callable[[sa.Connection, Frames], Frames] = as_they_are
    load: Work
    confirm: Work = nothing_to_confirm
    # Flows that make what this one needs; in a day's work it comes after them.
    follows: tuple[str, ...] = ()
    # It tells the channel what there is and at which price: no document comes of it that the close looks at.
    offers: bool = False
    # Keys of rows that are to be worked again although their source has not changed (the parent of a waiting one has
    # arrived): extract gives them to its batch once more.
    requeue: Callable[[sa.Connection], Sequence[str]] | None = None
    # Reads what else the flow is configured by, beside mappings and checks. Raises ConfigError for what is wrong.
    validate_config: Callable[[], object] | None = None
    # Its load is thousands of single requests: it leaves a part of the target's budget to the others.
    low_priority: bool = False
    # Flows whose sources are read first, so that this one knows of what they will do; their own next runs work it.
    prefetch: tuple[Flow, ...] = ()
    # Of a full compare: reads whole what the target holds; then the keys of rows that are not there as they should be.
    snapshot_target: Callable[[Runtime], None] | None = None
    find_drift: Callable[[sa.Connection], Sequence[str]] | None = None

"""Defines a flow: the shape that every flow fills in and the five steps work with.

In: nothing. Out: values and protocols. Never: a flow of its own.

"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

import msgspec
import pandas as pd
import sqlalchemy as sa

from crossdock.mapping.frames import Frames
from crossdock.mapping.parse import Parsed
from crossdock.systems.failures import NAMES

if TYPE_CHECKING:
    from crossdock.runtime import Runtime
    from crossdock.systems.channel_advisor import Abilities


SOURCE = "Crossdock"  # of the documents that we post to TIMS; (Source, ExternalReference) is unique there for ever


@dataclass(frozen=True)
class RecordKey:
    """The key and version of a record. Extract parses nothing else of it."""

    key: str
    version: str  # RFC 3339, as received
    truncated: bool = False  # the list gave only a part of it
    same: bytes | None = None  # the part by which an unchanged record is recognised; None: all its bytes


class Merge(Protocol):
    """Copies the records of a batch into `ref`: all of them, or those with these keys. A snapshot has no batch."""

    def __call__(self, connection: sa.Connection, batch_id: int | None, keys: Sequence[str] | None = None) -> None: ...


@dataclass(frozen=True)
class Resource:
    """One list of one system, and the raw table that stores it. Several flows may read the list: each of them has its
    own queue, and so have the reference data made of it."""

    system: str  # channel_advisor, tims, inbox (files) or settlement_ledger (our own verified records)
    path: str  # as the client's `pages` takes it
    raw: sa.Table
    read_key: Callable[[msgspec.Raw], RecordKey]
    document: str  # schema name in the system's contract
    overlap: timedelta  # how far a scheduled read goes back behind its watermark: late rows, clocks
    lag: timedelta  # how long after its change a row may still be invisible: the watermark stays behind by as much
    merge: Merge | None = None  # of reference data: copies a batch into `ref`
    single: bool = False  # one document at the path, no list
    # Records per COPY: enough to be fast, few enough for reading and writing to overlap; 1 where a record is a file.
    at_once: int = 500
    one: str = ""  # path of a single record of TIMS with "{key}" in it, where that is not below the list
    # Of reference data that only some configurations, or some APIs of the channel, need: whether the present ones do.
    wanted: Callable[[Abilities], bool] | None = None
    ids: tuple[str, ...] = ()  # fields that identify a record whose key cannot be read
    # Fields that are ours, or that change along with our writes. A version that differs only in these, and in what a
    # write has just set, is our own.
    own: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.system}.{self.path}"

    @property
    def title(self) -> str:
        """The list as people call it: sales orders of TIMS."""
        listed = self.path.rpartition("/")[2].replace("-", " ").replace("_", " ")
        return f"{listed} of {NAMES.get(self.system) or 'the ' + self.system.replace('_', ' ')}"

    @property
    def contract(self) -> str:
        """The contract that defines `document`. Documents made from files are defined by our own contract."""
        return "crossdock" if self.system in ("inbox", "settlement_ledger") else self.system


@dataclass
class Staged:
    """The result of a flow's transform for one batch.

    `header`: one row per record with `key`, `state` (staged, waiting, left_out, dead), `reason`, `content_hash` and the
    target columns of the stage table; `lines`: target lines with `key` and `position`. `problems` as in
    `crossdock.mapping.problems`, `_row` pointing into `header`.
    """

    header: pd.DataFrame
    lines: pd.DataFrame
    problems: pd.DataFrame
    alerts: list[dict] = field(default_factory=list)


class Transform(Protocol):
    """Stages a batch. `parsed`: the batch as `mapping.parse` gives it; `keys` and `altered` are aligned to its
    payloads."""

    def __call__(
        self, connection: sa.Connection, parsed: Parsed, keys: Sequence[str], altered: Sequence[str | None]
    ) -> Staged: ...


class Work(Protocol):
    """Does the flow's own part of a step for a batch."""

    def __call__(self, runtime: Runtime, flow: Flow, batch_id: int, /) -> None: ...


def as_they_are(connection: sa.Connection, frames: Frames) -> Frames:
    """Gives the checks the staged rows alone."""
    return frames


def nothing_to_confirm(runtime: Runtime, flow: Flow, batch_id: int, /) -> None:
    """Does nothing: the confirm of a flow whose source needs no answer."""


@dataclass(frozen=True, kw_only=True)
class Flow:
    """One flow. `load` works the rows of a batch that are ready; `confirm` those delivered and not yet confirmed."""

    name: str
    title: str
    entity: str
    source: Resource
    # Lists of either system that load, confirm and drift ask besides: "channel_advisor.prices".
    also_reads: tuple[str, ...] = ()
    target: str = "tims"  # system that it writes to: tims, channel_advisor or settlement_ledger (our own)
    reference: tuple[Resource, ...] = ()
    lines_path: str = ""  # array of lines in the source document; "" where it has none
    stage: sa.Table
    stage_lines: sa.Table | None = None  # None where the target document has no lines
    mappings: tuple[str, ...]  # files in include/config/mappings
    transform: Transform
    suite: str  # file in include/config/checks
    # Adds to the staged rows what the suite checks besides.
    enrich_for_checks: Callable[[sa.Connection, Frames], Frames] = as_they_are
    load: Work
    confirm: Work = nothing_to_confirm
    # Flows whose results this one needs: the nightly close runs it after them.
    follows: tuple[str, ...] = ()
    # Whether it sends the channel an offer (products, quantities, prices) and makes no document that the close checks.
    offers: bool = False
    # Finds keys of rows to be worked again although their source has not changed: the parent of a waiting row has
    # arrived, for example. Extract adds them to its batch.
    requeue: Callable[[sa.Connection], Sequence[str]] | None = None
    # Reads the flow's configuration besides mappings and checks. Raises ConfigError for a mistake.
    validate_config: Callable[[], object] | None = None
    # Column of `stage` with the day of the document; "" where the version of the source record says it.
    dated_by: str = ""
    # Whether it leaves a part of the target's budget to other flows: its load is thousands of single requests.
    low_priority: bool = False
    # Reasons and rules by which a newer version of a record is left out or refused only if nothing was made of it
    # before; each with what has come, in words. In shadow mode such a record stays as it would have been made.
    later: Mapping[str, str] = field(default_factory=dict)
    # Flows whose sources are read first, so that this one knows their pending changes. Their own next runs work them.
    prefetch: tuple[Flow, ...] = ()
    # For a full compare: `snapshot_target` reads all that the target holds, `find_drift` finds the keys that differ.
    snapshot_target: Callable[[Runtime], None] | None = None
    find_drift: Callable[[sa.Connection], Sequence[str]] | None = None

"""Going live: the mode of each flow, launch from a day on with a cap, release, and back to shadow mode.

In: the person, a flow, a day, a number. Out: what is so, for pages and commands; a version of the configuration, in
force with the next request of every worker. Never: a change that the configuration's log and the audit log do not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import sqlalchemy as sa

from crossdock import flows
from crossdock.comparison import by_hand
from crossdock.config import yaml_text
from crossdock.errors import ConfigError
from crossdock.flow import Flow
from crossdock.services import configuration
from crossdock.services.configuration import Version
from crossdock.services.people import Person, Right
from crossdock.steps import modes
from crossdock.store import audit, versions, would_be
from crossdock.store.tables import ops_batch, ops_would_be

FILE = "flows.yaml"
OWN_BOOK = "settlement_ledger"  # target of flows that write to our own tables, and to no system


@dataclass(frozen=True)
class FlowMode:
    """One flow. `shadow`: it writes nothing. `held`: records that are made but for the last write; `requests`: what
    would be sent of them in shadow mode. `sent`: records that its launch has sent under the cap; `waits`: the cap is
    reached, and a person is to look. `later`: of how many of these something has come later, and what."""

    flow: str
    title: str
    target: str
    shadow: bool
    since: date | None
    cap: int | None
    sent: int
    held: int
    requests: int
    later: dict[str, int]

    @property
    def waits(self) -> bool:
        return not self.shadow and self.cap is not None and self.sent >= self.cap

    @property
    def sentence(self) -> str:
        """How it runs, in words."""
        if self.target == OWN_BOOK:
            return "It writes to our own book only, and has no other mode."
        if self.shadow:
            words = f"Shadow mode: it writes nothing. {self.held:,} records would be made or changed."
            return words + by_hand.afterwards(self.later)
        words = "Live" if self.since is None else f"Live from {self.since}"
        if self.cap is not None:
            words += f", {self.sent:,} of the first {self.cap:,} records sent"
        if self.waits:
            words += "; it waits for a person to release it"
        return f"{words}. {self.held:,} records are held back." if self.held else f"{words}."


def in_shadow() -> tuple[str, ...]:
    """The flows in shadow mode, by the settings in use; for a badge on every page. Raises ConfigError."""
    return tuple(
        flow.name for flow in flows.all_flows().values() if flow.target != OWN_BOOK and modes.of(flow.name).shadow
    )


def badge(shadowed: tuple[str, ...]) -> str:
    """What the badge says; "" where every flow is live."""
    if not shadowed:
        return ""
    every = sum(flow.target != OWN_BOOK for flow in flows.all_flows().values())
    which = "all flows" if len(shadowed) == every else ", ".join(flows.get(name).title for name in shadowed)
    return f"Shadow mode: {which}. Nothing of this is written to Channel Advisor or TIMS."


def all_modes(connection: sa.Connection) -> tuple[FlowMode, ...]:
    """Every flow with its mode, in the order in which data travels."""
    return tuple(_mode(connection, flow) for flow in flows.all_flows().values())


def mode_of(connection: sa.Connection, name: str) -> FlowMode:
    """One flow with its mode. Raises ConfigError where there is no such flow."""
    return _mode(connection, flows.get(name))


def _mode(connection: sa.Connection, flow: Flow) -> FlowMode:
    now, stage, table = modes.of(flow.name), flow.stage, ops_would_be.c
    kept = connection.execute(
        sa.select(table.later, sa.func.count().label("requests"), sa.func.count(table.row.distinct()).label("records"))
        .where(table.flow == flow.name)
        .group_by(table.later)
    ).all()
    held = connection.scalar(
        sa.select(sa.func.count())
        .select_from(stage.join(ops_batch, ops_batch.c.id == stage.c.batch_id))
        .where(stage.c.state == "would_be", ops_batch.c.flow == flow.name)
    )
    sent = len(would_be.admitted(connection, flow.name)) if now.cap is not None else 0
    shadow = now.shadow and flow.target != OWN_BOOK
    requests, later = sum(row.requests for row in kept), {row.later: row.records for row in kept if row.later}
    return FlowMode(flow.name, flow.title, flow.target, shadow, now.since, now.cap, sent, held or 0, requests, later)


# ---- changing ------------------------------------------------------------------------------------------------------


def launch(
    connection: sa.Connection, person: Person, name: str, since: date, cap: int | None = None, why: str = ""
) -> Version:
    """Makes a flow live: it makes what is dated `since` or later, and after `cap` records it waits for a person. What
    people have entered by hand meanwhile is linked, and not made twice. Raises NotAllowed, ConfigError."""
    flow = _changeable(person, name, Right.LAUNCH)
    if cap is not None and cap < 1:
        raise ConfigError(f"A cap of {cap} records lets nothing through.", do="Give 1 or more, or none.")
    would_be.dismiss(connection, flow.name)
    first = f", at most {cap:,} records at first" if cap else ""
    values = {"mode": "live", "from": since.isoformat(), "first_day_cap": None if cap is None else str(cap)}
    return _change(
        connection, person, "launch", {flow.name: values}, f"Launch of {flow.name} from {since}{first}",
        {"from": since.isoformat(), "cap": cap}, why,
    )  # fmt: skip


def release(connection: sa.Connection, person: Person, name: str, why: str = "") -> Version:
    """Lets a launched flow go on without its cap. Raises NotAllowed, and ConfigError where it has none."""
    flow = _changeable(person, name, Right.LAUNCH)
    now = modes.of(flow.name)
    if now.shadow:
        raise ConfigError(f"{name} is in shadow mode.", do=f"Launch it: `crossdock launch {name} --from DAY`.")
    if now.cap is None:
        raise ConfigError(f"{name} has no cap.", do="Nothing to do: it is live.")
    sent = len(would_be.admitted(connection, flow.name))
    would_be.dismiss(connection, flow.name)
    return _change(
        connection, person, "release", {flow.name: {"first_day_cap": None}},
        f"Release of {flow.name} after {sent:,} records", {"sent": sent}, why,
    )  # fmt: skip


def to_shadow(connection: sa.Connection, person: Person, *names: str, why: str = "") -> Version:
    """Puts flows back into shadow mode: not one request more leaves, also of loads that are running. Raises NotAllowed,
    and ConfigError where all of them are in it."""
    chosen = [_changeable(person, name, Right.BACK) for name in names]
    values = {flow.name: {"mode": "shadow", "from": None, "first_day_cap": None} for flow in chosen}
    for flow in chosen:
        would_be.dismiss(connection, flow.name)
    return _change(connection, person, "shadow", values, f"Shadow mode for {', '.join(values)}", {}, why)


def changeable() -> tuple[str, ...]:
    """The flows that have a mode: those that write to a system."""
    return tuple(flow.name for flow in flows.all_flows().values() if flow.target != OWN_BOOK)


def _changeable(person: Person, name: str, right: Right) -> Flow:
    person.require(right)
    flow = flows.get(name)
    if flow.target == OWN_BOOK:
        raise ConfigError(
            f"{name} writes to our own book, and to no system.", do="It needs no launch: it runs as it is."
        )
    return flow


def _change(
    connection: sa.Connection,
    person: Person,
    action: str,
    values: Mapping[str, Mapping[str, str | None]],
    message: str,
    detail: Mapping[str, Any],
    why: str = "",
) -> Version:
    """Publishes these settings of flows. None: the flow says nothing of it."""
    # Whoever may do this needs neither the right to publish other configuration nor a second person's consent: the way
    # back to shadow mode waits for nobody.
    versions.lock(connection)
    text = configuration.text(connection, FILE) or ""
    for name, own in values.items():
        for word, value in own.items():
            text = yaml_text.changed(text, (name, word), value)
    version = configuration.put_in_force(connection, person, {FILE: text}, f"{message}: {why}" if why else message)
    noted = {**detail, "note": why} if why else detail
    audit.record_each(connection, person.name, f"go-live {action}", dict.fromkeys(values, noted))
    return version

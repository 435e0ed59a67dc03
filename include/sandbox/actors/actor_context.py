"""What an actor can read and do.

In: the world, the two systems' controls, the time since everybody acted last. Out: documents of the systems, stories of
orders; parcels posted to TIMS, events sent to either system, files in the inbox. Never: a file that others can read
half written; a moment outside the time to act in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from datetime import time as clock_time
from functools import cached_property
from pathlib import Path
from typing import Any

from sandbox import chance
from sandbox.control import Control
from sandbox.order_histories import State, fate_of, life
from sandbox.orders import FIRST_ORDER, Order, order
from sandbox.transactions import LONDON, Invoice
from sandbox.world import CHANNEL_ADVISOR, TIMS, World, text

OPENS, OPEN_SECONDS, SUNDAY = 8, 10 * 3600, 6  # the warehouse, in London; closed on Sundays
Document = dict[str, Any]


@dataclass
class ActorContext:
    """The time to act in: `start` < moment <= `end`."""

    world: World
    controls: Mapping[str, Control]
    start: datetime
    end: datetime
    inbox: Path
    _stories: dict[int, tuple[Order, list[State]] | None] = field(default_factory=dict)

    def is_due(self, at: datetime) -> bool:
        return self.start < at <= self.end

    # ---- reading ----
    def tims(self, kind: str, since: datetime | None = None, **where: list[Any]) -> list[Document]:
        return self.controls[TIMS].documents(kind, since, **where)

    def channel(self, kind: str, since: datetime | None = None, **where: list[Any]) -> list[Document]:
        return self.controls[CHANNEL_ADVISOR].documents(kind, since, **where)

    @cached_property
    def orders(self) -> dict[int, Document]:
        """All orders of Channel Advisor by their number, every line."""
        return {each["ChannelAdvisorOrderID"]: each for each in self.channel("order")}

    @cached_property
    def reports(self) -> list[Document]:
        """All shipments that Channel Advisor knows of."""
        return self.channel("shipment")

    @cached_property
    def returns(self) -> list[Document]:
        return sorted(self.channel("return"), key=lambda each: each["ReturnID"])

    @cached_property
    def sales(self) -> dict[str, Document]:
        """All sales orders of TIMS by their number in the channel."""
        return {each["ExternalOrderID"]: each for each in self.tims("order")}

    def invoice(self, number: int) -> Invoice | None:
        """What the world's order of this number was made from."""
        return self._invoices.get(number)

    @cached_property
    def _invoices(self) -> dict[int, Invoice]:
        return {FIRST_ORDER + int(invoice.number): invoice for invoice in self.world.invoices if invoice.is_order}

    def story(self, number: int) -> tuple[Order, list[State]] | None:
        """An order of the world and all its states, later ones too; None for an order that the world does not have."""
        if number not in self._stories:
            invoice = self._invoices.get(number)
            made = order(invoice, self.world.catalogue) if invoice else None
            self._stories[number] = (made, life(made, self.world.catalogue)) if made else None
        return self._stories[number]

    def settled_at(self, number: int) -> datetime | None:
        """The moment of the last change of an order that matters to the warehouse."""
        story = self.story(number)
        if story is None:
            return None
        made, states = story
        return states[0].at if fate_of(made) == "vanishes" else states[-1].at

    # ---- opening hours ----
    def working_moment(self, after: datetime, *key: object) -> datetime:
        """A moment in the warehouse's opening hours: on the first open day where it is after `after`."""
        day = after.astimezone(LONDON).date()
        while True:
            if day.weekday() != SUNDAY:
                opens = datetime.combine(day, clock_time(OPENS), tzinfo=LONDON)
                at = opens.astimezone(UTC) + timedelta(seconds=chance.below(OPEN_SECONDS, "working", day, *key))
                if at > after:
                    return at
            day += timedelta(days=1)

    def next_moment(self, wanted: datetime) -> datetime:
        """`wanted`, or the next moment at which an actor can act if the actors have passed it."""
        return wanted if wanted > self.start else self.working_moment(self.start, wanted)

    # ---- acting ----
    def send(self, system: str, events: Iterable[tuple[str, str, Document]], *, dirty: bool = False) -> int:
        """Sends events to a system, at its present time: (id, kind, document). An id that it has is not sent again."""
        control = self.controls[system]
        now = text(control.now())
        return control.apply(
            {"id": id, "at": now, "kind": kind, "document": document, "dirty": dirty} for id, kind, document in events
        )

    def post(self, operations: Sequence[tuple[str, str, Document]]) -> list[Document]:
        """POSTs at TIMS's own screens: (path, idempotency key, body). One result each; a refusal is a result too."""
        return self.controls[TIMS].act(
            {"OperationID": str(n), "Method": "POST", "Path": path, "IdempotencyKey": key, "Body": body}
            for n, (path, key, body) in enumerate(operations)
        )

    def put_file(self, folder: str, name: str, content: bytes) -> bool:
        """Puts a whole file into the inbox at once; False if it is there already, or in a folder that the pipeline has
        moved it to."""
        place = self.inbox / folder
        if any(place.rglob(f"{name}*")):
            return False
        place.mkdir(parents=True, exist_ok=True)
        draft = place / f".{name}.part"
        draft.write_bytes(content)
        draft.replace(place / name)
        return True

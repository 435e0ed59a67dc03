"""No page shows a person a raw name: a walk over all pages of a shop with trade."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from datetime import timedelta
from html.parser import HTMLParser
from urllib.parse import parse_qsl, urljoin, urlsplit

import pytest
import sqlalchemy as sa

from browser.conftest import Console
from crossdock import flows
from crossdock.errors import BatchStopped
from crossdock.reference import tims
from crossdock.steps.extract import refresh_reference
from crossdock.store import alerts, audit
from crossdock.store.tables import ops_dead_letter
from crossdock.watch import freshness
from crossdock.watch.reconcile import reconcile
from integration.builders import forward, line, order, place, ship

CODES = {"code", "pre", "script", "style", "svg", "template"}  # what is meant as code, or is no text
VOID = {"input", "br", "hr", "img", "link", "meta", "circle", "path", "line", "rect"}
SNAKE = re.compile(r"(?<![\w./:%=&?-])[a-z][a-z0-9]*(?:_[a-z0-9]+)+(?![\w/:%=&?-]|\.[a-z])")
QUOTED = re.compile(r"“[^”]*”")
RAW_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d")
AT_MOST = 260  # pages
OF_ONE_KIND = 3


class Text(HTMLParser):
    """What a page says to a person, and where it leads."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.within: list[tuple[str, bool]] = []
        self.texts: list[str] = []
        self.links: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.links += [given[name] or "" for name in ("href", "hx-get") if given.get(name)]
        hidden = self.is_code or tag in CODES or "tree" in (given.get("class") or "").split()
        if not hidden:
            self.texts += [given[name] or "" for name in ("title", "aria-label", "placeholder") if given.get(name)]
        if tag not in VOID:
            self.within.append((tag, hidden))

    def handle_endtag(self, tag: str) -> None:
        while self.within and tag not in VOID:
            if self.within.pop()[0] == tag:
                break

    def handle_data(self, data: str) -> None:
        if not self.is_code:
            self.texts.append(data)

    @property
    def is_code(self) -> bool:
        return bool(self.within and self.within[-1][1])


def kind_of(address: str) -> str:
    """Addresses that one template answers are of one kind: those of one path but for numbers, with the same names in
    the query and the same choices of a kind, a state, a list."""
    parts = urlsplit(address)
    chosen = [
        f"{name}={value}" if name in ("state", "kind", "subject", "cause", "path") else name
        for name, value in parse_qsl(parts.query)
    ]
    return re.sub(r"\d+", "0", parts.path) + "?" + "&".join(sorted(chosen))


@pytest.fixture(scope="module")
def traded(console: Console) -> Iterator[Console]:
    """The shop with one of everything: shipped, invoiced, booked, refused, waiting, compared, alerts of all kinds."""
    shop = console.shop
    key = order(shop, line(quantity=2))
    ship(shop, key, {1: 2}, TrackingNumber="1Z999AA10123456999")
    unknown = place(shop, line("NO-SUCH-ITEM"))
    place(shop, line(), OrderStatus="OnHold")
    place(shop, line(), PaymentStatus="Failed")
    forward(shop, shop.now + timedelta(minutes=10))
    for flow in ("orders", "shipments", "invoices", "ledger_invoices", "invoices", "holds"):
        try:
            shop.sync(flow=flow)
        except BatchStopped:
            continue
    with shop.runtime() as runtime:
        refresh_reference(runtime, tims.ENTRIES)
        reconcile(runtime, run_id="reconcile/words")
        freshness.watch(runtime.engine, flows.all_flows(), runtime.inbox)
        with runtime.engine.begin() as connection:
            alerts.raise_alert(connection, kind="price_approval", key="prices", title="Prices wait", body="Decide.")
            audit.record(connection, "ada", "record read", "1", {"flow": "stock_adjustments"})
            audit.record(connection, "ada", "alert silence", "1", {
                "kind": "payment_failed", "until": "2026-11-30T01:02:03+00:00", "only": {"since": "2026-11-30"},
            })  # fmt: skip
    yield console
    with shop.runtime() as runtime, runtime.engine.begin() as connection:  # its group is another test's
        connection.execute(
            sa.update(ops_dead_letter).where(ops_dead_letter.c.key == unknown).values(state="dismissed", note="a test")
        )


def test_no_page_shows_a_raw_name(traded: Console) -> None:
    page = traded.login("admin")
    top = f"{traded.url}/crossdock/"
    waiting, met, seen, raw = deque([top]), {top}, {kind_of(top): 1}, {}
    while waiting and len(met) < AT_MOST:
        address = waiting.popleft()
        answer = page.request.get(address)
        assert answer.status in (200, 404, 422), f"{address}: {answer.status}"
        if answer.status != 200 or "text/html" not in answer.headers["content-type"]:
            continue
        text = Text(answer.text())
        for one in text.texts:
            own = QUOTED.sub("", one)  # what a person wrote, or a cell of a lookup, stands as it was written
            for found in SNAKE.findall(own) + RAW_MOMENT.findall(own):
                raw.setdefault(found, f"{address}: {' '.join(one.split())[:160]}")
        for link in text.links:
            there = urljoin(answer.url, link).partition("#")[0]
            kind = kind_of(there)
            new = there not in met and seen.get(kind, 0) < OF_ONE_KIND
            if new and there.startswith(top) and "/static/" not in there:
                seen[kind] = seen.get(kind, 0) + 1
                met.add(there)
                waiting.append(there)
    assert raw == {}
    paths = {kind.partition("?")[0].partition("/crossdock")[2] for kind in seen}
    assert paths >= {
        "/", "/letters", "/letters/group", "/letters/0", "/record/order", "/record/version", "/audit", "/money",
        "/mappings", "/rules", "/reconciliation", "/overview/records", "/overview/system/tims",
    }  # fmt: skip
    assert len(met) > 60

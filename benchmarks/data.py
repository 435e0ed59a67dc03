"""The pages that the measured programs read, made once and kept in the run folder.

In: a file of transactions, or none for the shipped January. Out: a folder of list pages of orders (all lines in each
order), of TIMS's items and customers, and of one tick. Never: a page that differs between two runs.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from datetime import timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from crossdock.settings import run_dir
from sandbox import world as worlds
from sandbox.transactions import SAMPLE, BadData

PAGE = 100  # orders a page, as Channel Advisor lists them
MASTERS_PAGE = 500
TICK = 43  # orders of a small tick
ORDERS, QUICK_ORDERS = 22_000, 3_000  # the sample is repeated up to so many
APART = 100_000_000  # between the numbers of two repetitions
TICK_NUMBER = 90  # the repetition that the tick's orders are numbered as: none of them has been read before

_read = msgspec.json.Decoder(float_hook=Decimal).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode


def prepare(path: Path | None, size: int = ORDERS) -> Path:
    """The folder of the pages made of `path`, or of the sample up to `size` orders; `facts.json` in it tells how many
    orders, lines and bytes. Raises BadData where there is no such file."""
    source = path or SAMPLE
    if not source.is_file():
        raise BadData(f"There is no file {source}: DATA=file names one of Online Retail.")
    digest = hashlib.blake2b(source.read_bytes() + b"%d" % size, digest_size=8)
    for code in sorted([Path(__file__), *Path(worlds.__file__).parent.glob("*.py")]):
        digest.update(code.read_bytes())
    folder = run_dir() / "bench" / f"pages-{digest.hexdigest()}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as unfinished:
            made = Path(unfinished) / "pages"
            made.mkdir()
            _write(worlds.load(path), made, size if path is None else 0)
            made.rename(folder)
    return folder


def facts(folder: Path) -> dict[str, Any]:
    """What `prepare` has made."""
    return json.loads((folder / "facts.json").read_text())


def _write(world: worlds.World, folder: Path, size: int) -> None:
    """Pages of all orders, again and again under new numbers up to `size`."""
    made = folder / "world"
    world.pages(made, PAGE)
    orders = [order for page in sorted(made.glob("*.json")) for order in _orders(page)]
    shutil.rmtree(made)
    repetitions = max(1, -(-size // len(orders)))
    numbered = (_numbered(order, number) for number in range(repetitions) for order in orders)
    counts = {"orders": 0, "lines": 0, "bytes": 0, "repetitions": repetitions}
    for number, page in enumerate(_chunks(numbered, PAGE)):
        body = b",".join(map(_encode, page))
        (folder / f"orders-{number:06d}.json").write_bytes(body)
        counts["orders"] += len(page)
        counts["lines"] += sum(len(order["OrderItems"]) for order in page)
        counts["bytes"] += len(body)
    tick = [_encode(_numbered(order, TICK_NUMBER)) for order in orders[-TICK:]]
    (folder / "tick-000000.json").write_bytes(b",".join(tick))
    for kind in ("item", "customer"):
        rows = [
            _encode({**event.document, "RowVersion": 1, "ModifiedAt": worlds.text(event.at)})
            for event in world.reference_events() if event.kind == kind
        ]  # fmt: skip
        for number, page in enumerate(_chunks(rows, MASTERS_PAGE)):
            (folder / f"{kind}s-{number:06d}.json").write_bytes(b",".join(page))
    counts["server_time"] = worlds.text(world.last.replace(microsecond=0) + timedelta(days=1))
    (folder / "facts.json").write_text(json.dumps(counts))


def _orders(page: Path) -> list[dict[str, Any]]:
    return _read(page.read_bytes())["value"]


def _numbered(order: dict[str, Any], repetition: int) -> dict[str, Any]:
    """The same order under other numbers."""
    if not repetition:
        return order
    shift = repetition * APART
    lines = [line | {"OrderItemID": line["OrderItemID"] + shift * 10_000} for line in order["OrderItems"]]
    return order | {
        "ChannelAdvisorOrderID": order["ChannelAdvisorOrderID"] + shift,
        "OrderID": f"{order['OrderID']}-{repetition}",
        "OrderItems": lines,
    }


def _chunks(rows: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(rows)
    while chunk := list(islice(iterator, size)):
        yield chunk

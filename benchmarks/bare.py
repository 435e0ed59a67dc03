"""Measures floors: the least code that does the same, by hand, without retries, budget, dead letters, checkpoints or a
second system. `python -m benchmarks.bare WHAT DATABASE SYSTEMS [FOLDER]`.

In: a database, the URL of the static server, pages or bulk bodies on disk. Out: one line of JSON.
"""

from __future__ import annotations

import io
import json
import struct
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psycopg2
import pyarrow as pa
import pyarrow.json as pajson
import requests

AT_ONCE = 4  # bulks under way, as our load has


class RecordKey(msgspec.Struct):
    ChannelAdvisorOrderID: int
    UpdatedDate: str


class Page(msgspec.Struct):
    value: list[msgspec.Raw]
    nextLink: str | None = None


class BulkResult(msgspec.Struct):
    OperationID: str
    Status: int


class BulkAnswer(msgspec.Struct):
    Results: list[BulkResult]


def pages(systems: str) -> Any:
    """The records of each page, split but not parsed."""
    decode = msgspec.json.Decoder(Page).decode
    with requests.Session() as session:
        session.trust_env = False
        link: str | None = f"{systems}/v2/orders"
        while link:
            page = decode(session.get(link, timeout=60).content)
            yield page.value
            link = page.nextLink


class V1Page(msgspec.Struct):
    value: list[msgspec.Raw]
    more: str | None = msgspec.field(name="@odata.nextLink", default=None)


class V1Key(msgspec.Struct):
    ID: int


def v1(systems: str) -> dict[str, float]:
    """The orders of the API v1 page by page in the order of their IDs, split but not parsed."""
    decode, key = msgspec.json.Decoder(V1Page).decode, msgspec.json.Decoder(V1Key).decode
    parts = "Items($expand=Promotions,BundleComponents,Adjustments),Fulfillments($expand=Items),Adjustments"
    with requests.Session() as session:
        session.trust_env = False
        begun, orders, last = time.perf_counter(), 0, 0
        while True:
            query = {"$expand": parts, "$filter": f"ID gt {last}", "$orderby": "ID"}
            page = decode(session.get(f"{systems}/v1/Orders", params=query, timeout=60).content)
            orders += len(page.value)
            if not page.more:
                return {"seconds": time.perf_counter() - begun, "orders": orders}
            last = key(page.value[-1]).ID


# ---- extract and stage ---------------------------------------------------------------------------------------------


def extract(database: str, systems: str) -> dict[str, float]:
    """Pages -> rows (key, version, payload jsonb), one COPY a page, one transaction."""
    header = msgspec.json.Decoder(RecordKey).decode
    with psycopg2.connect(database) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE orders (key text PRIMARY KEY, version text, payload jsonb)")
        connection.commit()
        begun = time.perf_counter()
        for records in pages(systems):
            _copy(
                cursor, [(str((h := header(r)).ChannelAdvisorOrderID), h.UpdatedDate, None, bytes(r)) for r in records]
            )
        connection.commit()
        return {"first": time.perf_counter() - begun}


def again(database: str, systems: str) -> dict[str, float]:
    """The same pages when every record is known: hashes compared, nothing written."""
    header = msgspec.json.Decoder(RecordKey).decode
    digest = lambda data: sha256(data).hexdigest()[:32]  # noqa: E731
    with psycopg2.connect(database) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE orders (key text PRIMARY KEY, version text, hash text, payload jsonb)")
        for records in pages(systems):
            rows = [(header(record), bytes(record)) for record in records]
            _copy(cursor, [(str(h.ChannelAdvisorOrderID), h.UpdatedDate, digest(data), data) for h, data in rows])
        connection.commit()
        begun = time.perf_counter()
        cursor.execute("SELECT key, hash FROM orders")
        existing = dict(cursor.fetchall())
        new = 0
        for records in pages(systems):
            new += sum(existing.get(str(header(r).ChannelAdvisorOrderID)) != digest(bytes(r)) for r in records)
        seconds = time.perf_counter() - begun
    assert not new
    return {"again": seconds}


def _copy(cursor: Any, rows: list[tuple[str, str, str | None, bytes]]) -> None:
    """Binary COPY; jsonb is a version byte and the text, and takes no U+0000."""
    parts = [b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)]
    for key, version, digest, payload in rows:
        texts = [key.encode(), version.encode()] + ([digest.encode()] if digest else [])
        payload = payload.replace(b"\\u0000", b"") if b"\\u0000" in payload else payload
        parts.append(struct.pack("!h", len(texts) + 1))
        for text in texts:
            parts.append(struct.pack("!i", len(text)) + text)
        parts.append(struct.pack("!ib", len(payload) + 1, 1))
        parts.append(payload)
    parts.append(struct.pack("!h", -1))
    columns = "key, version, hash, payload" if rows[0][2] else "key, version, payload"
    cursor.copy_expert(f"COPY orders ({columns}) FROM STDIN (FORMAT binary)", io.BytesIO(b"".join(parts)), size=1 << 20)


# ---- raw to checked ------------------------------------------------------------------------------------------------

MONEY = pa.decimal128(18, 4)
LINE = pa.struct(
    [("OrderItemID", pa.int64()), ("SKU", pa.string()), ("Title", pa.string()), ("Quantity", pa.int64()),
     *((name, MONEY) for name in ("UnitPrice", "TaxAmount", "DiscountAmount", "ShippingAmount", "ShippingTaxAmount",
                                  "GiftWrapAmount")),
     ("QuantityShipped", pa.int64()), ("QuantityCancelled", pa.int64())]
)  # fmt: skip
ORDER = pa.schema(
    [("ChannelAdvisorOrderID", pa.int64()), ("OrderID", pa.string()), ("SiteID", pa.int64()),
     ("OrderStatus", pa.string()), ("PaymentStatus", pa.string()), ("Currency", pa.string()),
     ("OrderDate", pa.string()), ("OrderItems", pa.list_(LINE)), ("OrderItemCount", pa.int64()),
     *((name, MONEY) for name in ("TotalShippingPrice", "TotalShippingTaxPrice", "TotalTaxPrice", "TotalDiscount",
                                  "TotalPrice"))]
)  # fmt: skip


def floor(folder: Path, size: int = 2_000) -> dict[str, float]:
    """Payloads in memory -> exact columns -> 12 rules in numpy, in batches as large as ours. No Postgres, no target
    document, no look-up but whether an item is known."""
    skus = {row["SKU"] for path in folder.glob("items-*.json") for row in json.loads(b"[" + path.read_bytes() + b"]")}
    skus = pa.array(sorted(skus))
    records = [bytes(r) for path in sorted(folder.glob("orders-*.json"))
               for r in msgspec.json.decode(b"[" + path.read_bytes() + b"]", type=list[msgspec.Raw])]  # fmt: skip
    begun = time.perf_counter()
    lines = sum(_judged(b"\n".join(records[at : at + size]), skus) for at in range(0, len(records), size))
    return {"seconds": time.perf_counter() - begun, "lines": lines}


def _judged(joined: bytes, skus: pa.Array) -> int:
    """Applies the rules; the number of lines. Raises when a rule cannot be applied at all."""
    import pyarrow.compute as pc

    table = pajson.read_json(
        pa.BufferReader(joined),
        read_options=pajson.ReadOptions(block_size=1 << 22),
        parse_options=pajson.ParseOptions(explicit_schema=ORDER, unexpected_field_behavior="ignore"),
    ).combine_chunks()
    items = table["OrderItems"].combine_chunks()
    items = items.chunk(0) if isinstance(items, pa.ChunkedArray) else items
    offsets = items.offsets.to_numpy()
    flat = items.flatten()
    header = {name: table[name].combine_chunks() for name in table.column_names if name != "OrderItems"}
    line = {field.name: flat.field(number) for number, field in enumerate(LINE)}

    def whole(array: pa.Array) -> np.ndarray:
        array = array.chunk(0) if isinstance(array, pa.ChunkedArray) else array
        return np.frombuffer(array.buffers()[1], dtype="int64").reshape(-1, 2)[array.offset :][: len(array), 0]

    quantity = line["Quantity"].to_numpy(zero_copy_only=False)
    price, tax, discount = whole(line["UnitPrice"]), whole(line["TaxAmount"]), whole(line["DiscountAmount"])
    net = quantity * price - discount
    totals = np.add.reduceat(net + tax, offsets[:-1])
    rest = whole(header["TotalShippingPrice"]) + whole(header["TotalShippingTaxPrice"])
    failing = [
        quantity < 1,
        price < 0,
        tax < 0,
        discount < 0,
        discount > quantity * price,
        line["SKU"].is_null().to_numpy(zero_copy_only=False),
        ~pc.is_in(line["SKU"], skus).to_numpy(zero_copy_only=False),
        pc.greater(pc.utf8_length(line["SKU"]), 40).to_numpy(zero_copy_only=False),
        np.abs(totals + rest - whole(header["TotalPrice"])) > 100,
        np.diff(offsets) != header["OrderItemCount"].to_numpy(zero_copy_only=False),
        ~pc.is_in(header["Currency"], pa.array(["GBP", "EUR", "USD"])).to_numpy(zero_copy_only=False),
        np.r_[False, np.diff(np.sort(header["ChannelAdvisorOrderID"].to_numpy())) == 0],
    ]
    [np.flatnonzero(rule) for rule in failing]
    return len(flat)


# ---- load ----------------------------------------------------------------------------------------------------------


def load(systems: str, folder: Path) -> dict[str, float]:
    """Posts kept bulk bodies and reads how many results came back."""
    bodies = [path.read_bytes() for path in sorted(folder.glob("bulk-*.json"))]
    decode = msgspec.json.Decoder(BulkAnswer).decode
    with requests.Session() as session, ThreadPoolExecutor(AT_ONCE) as pool:
        session.trust_env = False

        def post(numbered: tuple[int, bytes]) -> int:
            number, body = numbered
            headers = {"Content-Type": "application/json", "Idempotency-Key": str(number)}
            answer = session.post(f"{systems}/api/v1/bulk", data=body, headers=headers, timeout=60)
            return len(decode(answer.content).Results)

        begun = time.perf_counter()
        results = sum(pool.map(post, enumerate(bodies)))
        seconds = time.perf_counter() - begun
    return {"load": seconds, "results": results, "bulks": len(bodies), "bytes": sum(map(len, bodies))}


def quantities(systems: str, folder: Path) -> dict[str, float]:
    """PUTs kept bodies of quantities and reads how many results came back."""
    bodies = [path.read_bytes() for path in sorted(folder.glob("quantities-*.json"))]
    with requests.Session() as session, ThreadPoolExecutor(AT_ONCE) as pool:
        session.trust_env = False

        def put(body: bytes) -> int:
            answer = session.put(f"{systems}/v2/inventory", data=body, timeout=60)
            return len(msgspec.json.decode(answer.content)["Results"])

        begun = time.perf_counter()
        results = sum(pool.map(put, bodies))
        seconds = time.perf_counter() - begun
    return {"load": seconds, "results": results, "requests": len(bodies)}


def main() -> None:
    what, database, systems, *folder = sys.argv[1:]
    if what == "extract":
        result = extract(database, systems)
    elif what == "again":
        result = again(database, systems)
    elif what == "v1":
        result = v1(systems)
    elif what == "quantities":
        result = quantities(systems, Path(folder[0]))
    elif what == "floor":
        result = floor(Path(folder[0]))
    else:
        result = load(systems, Path(folder[0]))
    print(json.dumps(result))


if __name__ == "__main__":
    main()

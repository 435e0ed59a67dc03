"""dlt, the loader that a Python team would otherwise take: `python -m benchmarks.peer HOW DATABASE SYSTEMS`.

Runs in an environment of its own (`.venv-bench`), for its pins are not ours. In: a fresh database, the URL of the
static server. Out: one line of JSON: seconds of the first read and of the same pages again. It does the same as our
extract: every order by its id into Postgres, merged.

`nested`: as dlt does it by itself, child tables for lines. `json`: one json column, as its documentation tunes a
pipeline: pages yielded whole, larger buffers and files, CSV by COPY, several workers. `arrow`: the same, but the user
splits the pages by hand and hands over Arrow tables of text.
"""

import json
import os
import sys
import time

TUNED = {
    "DATA_WRITER__BUFFER_MAX_ITEMS": "5000",
    "DATA_WRITER__FILE_MAX_ITEMS": "5000",
    "EXTRACT__WORKERS": "2",
    "NORMALIZE__WORKERS": "2",
    "LOAD__WORKERS": "4",
}
how, database, systems = sys.argv[1:]
if how != "nested":
    os.environ.update(TUNED)

import dlt  # noqa: E402
import msgspec  # noqa: E402
import psycopg2  # noqa: E402
import pyarrow as pa  # noqa: E402
import requests  # noqa: E402
from dlt.sources.helpers.rest_client import RESTClient  # noqa: E402
from dlt.sources.helpers.rest_client.paginators import JSONLinkPaginator  # noqa: E402


class RecordKey(msgspec.Struct):
    ChannelAdvisorOrderID: int
    UpdatedDate: str


class Page(msgspec.Struct):
    value: list[msgspec.Raw]
    nextLink: str | None = None


def nested(**more):
    client = RESTClient(base_url=systems, paginator=JSONLinkPaginator("nextLink"), data_selector="value")
    yield from client.paginate("/v2/orders", **more)


def without_nul(response, *_, **__):
    """Removes U+0000, which jsonb does not take: a user of dlt has to do this, or the whole load fails."""
    response._content = response.content.replace(b"\\u0000", b"")


def as_json():
    for page in nested(hooks={"response": [without_nul]}):
        yield [
            {"id": order["ChannelAdvisorOrderID"], "updated": order["UpdatedDate"], "payload": order} for order in page
        ]


def as_arrow():
    header = msgspec.json.Decoder(RecordKey).decode
    decode = msgspec.json.Decoder(Page).decode
    with requests.Session() as session:
        link = f"{systems}/v2/orders"
        while link:
            page = decode(session.get(link, timeout=60).content)
            heads = [header(record) for record in page.value]
            yield pa.table(
                {
                    "id": [each.ChannelAdvisorOrderID for each in heads],
                    "updated": [each.UpdatedDate for each in heads],
                    "payload": [bytes(record).replace(b"\\u0000", b"").decode() for record in page.value],
                }
            )
            link = page.nextLink


def resource():
    """The orders, merged by their id."""
    key = "ChannelAdvisorOrderID" if how == "nested" else "id"
    source = {"nested": nested, "json": as_json, "arrow": as_arrow}[how]
    columns = None if how == "nested" else {"payload": {"data_type": "json"}}
    return dlt.resource(source, name="orders", primary_key=key, write_disposition="merge", columns=columns)


def run() -> float:
    begun = time.perf_counter()
    pipeline.run(resource(), loader_file_format=None if how == "nested" else "csv")
    return time.perf_counter() - begun


if __name__ == "__main__":
    pipeline = dlt.pipeline("bench", destination=dlt.destinations.postgres(database), dataset_name="peer")
    result = {"first": run(), "again": run()}
    with psycopg2.connect(database) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM peer.orders")
        result["orders"] = cursor.fetchone()[0]
    print(json.dumps(result))

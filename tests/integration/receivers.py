"""A receiver to send events to, in this process or in one of its own, and signed deliveries."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec
import requests
import sqlalchemy as sa
import uvicorn

from contract import channel_advisor_calls as shop_calls
from contract import tims_calls
from crossdock.receiver import sources
from crossdock.receiver.app import Receiver
from crossdock.receiver.journal import Journal
from crossdock.receiver.serve import config_of, listening
from crossdock.receiver.sources import OpenSource, Secrets
from crossdock.settings import PROJECT
from crossdock.store import database, webhook_events
from sandbox.control import Control

SECRET = "the-secret-of-a-subscription-of-a-test"
SHOP, TIMS = "/hooks/channel-advisor", "/hooks/tims"
SECRETS = {"channel_advisor": Secrets((SECRET,)), "tims": Secrets((SECRET,))}


def event(id: str, key: str = "1", **fields: Any) -> dict[str, Any]:
    """An event of Channel Advisor."""
    return {
        "EventID": id, "EventType": "OrderCreated", "ProfileID": 12345678, "ResourceID": key,
        "ResourceURL": f"http://127.0.0.1:8601/v2/orders/{key}", "OccurredAt": "2011-01-04T10:00:00Z",
    } | fields  # fmt: skip


def signed(body: bytes, secret: str = SECRET, at: float | None = None) -> dict[str, str]:
    """The headers of a delivery of Channel Advisor; the event's own are taken from the body."""
    stamp = str(int(time.time() if at is None else at))
    digest = hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    headers = {"X-CA-Signature": f"sha256={digest}", "X-CA-Timestamp": stamp, "Content-Type": "application/json"}
    try:
        sent = json.loads(body)
        return headers | {"X-CA-Event-ID": sent["EventID"], "X-CA-Event-Type": sent["EventType"]}
    except (ValueError, KeyError, TypeError, RecursionError):
        return headers


def deliver(
    url: str, sent: Any, *, path: str = SHOP, secret: str = SECRET, at: float | None = None, **more: Any
) -> int:
    """The status of the answer."""
    body = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
    headers = signed(body, secret, at) | more.pop("headers", {})
    return requests.post(url + path, data=body, headers=headers, timeout=10, **more).status_code


def rows(url: str) -> list[sa.Row]:
    engine = database.engine(url, role=None)
    try:
        with engine.connect() as connection:
            return list(connection.execute(sa.select(webhook_events.table).order_by(webhook_events.table.c.event_id)))
    finally:
        engine.dispose()


def ids(url: str) -> list[str]:
    return [row.event_id for row in rows(url)]


def settings(**changes: Any) -> sources.Settings:
    """The shipped settings with some of them changed; `addresses` are those of Channel Advisor."""
    shipped = sources.load()
    if addresses := changes.pop("addresses", None):
        changed = msgspec.structs.replace(shipped.sources["channel_advisor"], addresses=addresses)
        changes["sources"] = shipped.sources | {"channel_advisor": changed}
    return msgspec.structs.replace(shipped, **changes)


@contextmanager
def receiving(
    database_url: str, secrets: dict[str, Secrets] | None = None, *, port: int = 0, **changes: Any
) -> Iterator[str]:
    """A receiver in a thread of this process; its URL."""
    used = settings(**changes)
    found = [
        OpenSource(name, rules, used_secrets)
        for name, rules in used.sources.items()
        if rules.signature.header and (used_secrets := (secrets or SECRETS).get(rules.system))
    ]
    engine = database.engine(database_url, role=webhook_events.RECEIVER_ROLE)
    listener = listening("127.0.0.1", port)
    server = uvicorn.Server(config_of(Receiver(found, Journal(engine), used), used))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
        engine.dispose()


def environment(database_url: str, **more: str) -> dict[str, str]:
    """What `crossdock receive` needs, and nothing else of this process's own secrets."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW_", "CROSSDOCK_WEBHOOK"))}
    secrets = {"CROSSDOCK_WEBHOOK_SECRET_CHANNEL_ADVISOR": SECRET, "CROSSDOCK_WEBHOOK_SECRET_TIMS": SECRET}
    paths = {"PYTHONPATH": os.pathsep.join((str(PROJECT / "include"), str(PROJECT / "plugins")))}
    return own | secrets | paths | {"AIRFLOW_CONN_CROSSDOCK": database_url} | more


def command(*words: str) -> list[str]:
    return [sys.executable, "-c", "from crossdock.cli import main; main()", "receive", *words]


@dataclass
class Process:
    """`crossdock receive` in a process of its own."""

    process: subprocess.Popen[str]
    url: str

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)


@contextmanager
def started(database_url: str, port: int = 0) -> Iterator[Process]:
    process = subprocess.Popen(
        command("--port", str(port)), env=environment(database_url), stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        first = process.stdout.readline()
        assert SHOP in first, first
        yield Process(process, first.split(": ")[1].removesuffix(f"{SHOP}\n"))
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


def subscribe(shop: Control, tims: Control, url: str, *, pause: float = 0.2) -> None:
    """Has both systems send what flows read to a receiver; `pause`: seconds until what failed is sent again."""
    wanted = {name: list(rules.events) for name, rules in sources.load().sources.items()}
    sent = {"Url": url + SHOP, "Events": wanted["channel_advisor"], "SigningSecret": SECRET}
    assert shop_calls.Caller(shop.url).call("POST", "/v2/webhooks", json=sent).status_code == 201
    made = {"TargetURL": url + TIMS, "EventTypes": wanted["tims"], "Secret": SECRET}
    tims_calls.Caller(tims.url).made("/webhooks/subscriptions", made)
    for control in (shop, tims):
        control.call("PUT", "webhooks", {"first_pause_seconds": pause, "longest_pause_seconds": 4 * pause})


async def storm(url: str, events: Sequence[dict[str, Any]], at_once: int = 32) -> dict[str, int]:
    """Delivers each event once: the status of each by its id; 0: no answer."""
    found: dict[str, int] = {}
    free = asyncio.Semaphore(at_once)

    async def one(client: httpx.AsyncClient, sent: dict[str, Any]) -> None:
        body = json.dumps(sent).encode()
        async with free:
            try:
                answer = await client.post(url + SHOP, content=body, headers=signed(body))
                found[sent["EventID"]] = answer.status_code
            except httpx.HTTPError:
                found[sent["EventID"]] = 0

    async with httpx.AsyncClient(timeout=10, trust_env=False, limits=httpx.Limits(max_connections=at_once)) as client:
        await asyncio.gather(*(one(client, sent) for sent in events))
    return found


def many(count: int, begins: str = "evt_") -> list[dict[str, Any]]:
    return [event(f"{begins}{number:06}", str(number)) for number in range(count)]


def taken(found: dict[str, int]) -> set[str]:
    """The ids that were answered with 202."""
    return {id for id, status in found.items() if status == 202}

"""Subscriptions to the systems' events: what should be there, what is, and the difference made good.

In: receiver.yaml, the signing secrets, both systems. Out: subscriptions of the receiver's addresses; alerts. Never: a
subscription of another address touched; a secret in a table, a log or a message; one made before the receiver has shown
that it takes the secret.

| a subscription of our address | becomes of it |
|---|---|
| on, of the types that flows read, made here with the present secret | it stays; of several the newest |
| on, made here with the present or the previous secret | ended 10 minutes after another one was made |
| suspended or disabled, or of a secret that nobody knows | ended once another one is there |

To end one drops what waits in it; so two deliver for a while, and an event that comes twice is one. A run that is
killed leaves at worst a subscription that is not noted: its secret counts as one that nobody knows.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
import sqlalchemy as sa

from crossdock import flows
from crossdock.errors import ConfigError, CrossdockError, RecordRejected, Transient
from crossdock.receiver import sources
from crossdock.receiver.sources import Settings, Source
from crossdock.store import alerts, database, subscriptions, webhook_events
from crossdock.store.tables import ops_batch, ops_link, ops_webhook_event, ops_work
from crossdock.systems import writes
from crossdock.systems.failures import NAMES
from crossdock.systems.subscriptions import Subscription

if TYPE_CHECKING:
    from crossdock.runtime import Runtime
    from crossdock.systems.channel_advisor import ChannelAdvisor
    from crossdock.systems.tims import Tims

OVERLAP = timedelta(minutes=10)  # that an older one still delivers what waits in it
LOCK_SECONDS = 60.0
ANSWER_SECONDS = 5.0
ADDRESSES = 5  # of one receiver that are tried: ours, ours?2, ...
PURPOSE = b"subscription of Crossdock"
SILENT_FOR = timedelta(minutes=10)  # an event may come so long after polling has found its record
LOOK_BACK = timedelta(hours=6)
LEAST = 3  # records that polling has found: fewer are no sign
EVENTS_OFF = (
    "Events are off: neither public_url in include/config/receiver.yaml nor "
    f"{sources.PUBLIC_URL} says where the systems reach the receiver. Polling brings everything."
)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """What should be subscribed to for a source. `inside`: where this machine reaches the receiver's path."""

    url: str
    inside: str
    types: frozenset[str]
    rules: Source
    secrets: sources.Secrets = field(repr=False)

    @property
    def fingerprints(self) -> list[str]:
        """Of the present secret, and of the one before it."""
        return [fingerprint(key) for key in self.secrets.keys]


@dataclass(frozen=True)
class Found:
    """A subscription that is there. `state`: a word of STATES."""

    subscription: Subscription
    state: str
    made_at: datetime | None = None  # by our clock; None: not made here
    since: datetime | None = None  # by its system's clock


STATES = {
    "good": "as it should be",
    "older": "another one has taken its place; it ends when what waits in it is delivered",
    "other types": "of other types than the flows read",
    "old secret": "made with the previous secret",
    "off": "suspended or disabled: it delivers nothing",
    "unknown secret": "not made here, or with a secret that is not there any more",
    "elsewhere": "of another address: somebody else's",
}


@dataclass
class Standing:
    """How it stands with one source. `off`: why nobody subscribes to it, as a sentence; "" where somebody does."""

    source: str
    system: str
    off: str = ""
    url: str = ""
    types: tuple[str, ...] = ()
    found: list[Found] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    suspended: list[str] = field(default_factory=list)  # found so, before anything was done
    error: CrossdockError | None = None

    @property
    def good(self) -> Found | None:
        """The one that stays."""
        return next((each for each in self.found if each.state == "good"), None)

    @property
    def is_right(self) -> bool:
        """Whether nothing is to be done but to end an older one when its time has come."""
        states = {each.state for each in self.found}
        has_all = self.good is not None if self.types else states <= {"elsewhere"}
        return self.error is None and (bool(self.off) or (has_all and not states & {"off", "unknown secret"}))


def compare(runtime: Runtime) -> list[Standing]:
    """What is there against what should be; changes nothing. [] where events are off. What fails for one system is the
    `error` of its sources."""
    return _each(runtime, lambda client, wanted, standing: None)


def apply(runtime: Runtime, *, rotate: bool = False) -> list[Standing]:
    """Makes what lacks and ends what is not wanted; `rotate` makes one anew also where it is as it should be. The same
    again does nothing; two at once work one after the other."""

    def mend(client: ChannelAdvisor | Tims, wanted: Wanted, standing: Standing) -> None:
        _mend(runtime.engine, client, wanted, standing, rotate=rotate)

    return _each(runtime, mend)


def keep(runtime: Runtime) -> list[Standing]:
    """What the schedule does: deletes old events, applies, and raises alerts. Raises a Transient once all systems have
    had their turn."""
    settings = sources.load()
    deleted = webhook_events.age(runtime.engine, timedelta(days=settings.keep_days))
    if deleted:
        log.info("Deleted %d events that were worked more than %d days ago.", deleted, settings.keep_days)
    if not settings.address:
        log.info(EVENTS_OFF)
        return []
    done = apply(runtime)
    with runtime.engine.begin() as connection:
        for standing in done:
            log.info("%s", sentence(standing))
            for alert in _alerts(connection, standing, settings.sources[standing.source]):
                alerts.raise_alert(connection, **alert)
    if passing := next((one.error for one in done if isinstance(one.error, Transient)), None):
        raise passing
    return done


def sentence(standing: Standing) -> str:
    """What has been done for a source, or why nothing."""
    if standing.error or standing.off:
        return f"{standing.source}: {standing.error or standing.off}"
    parts = [f"made {', '.join(standing.made)}"] if standing.made else []
    parts += [f"ended {', '.join(standing.ended)}"] if standing.ended else []
    waiting = [each.subscription.id for each in standing.found if each.state not in ("good", "elsewhere")]
    made_at = standing.good.made_at if standing.good else None
    if waiting and made_at:
        at = f"{(made_at + OVERLAP).astimezone(UTC):%H:%M} UTC"
        parts.append(f"{', '.join(waiting)} to be ended by the first run after {at}, when nothing waits there any more")
    return f"{standing.source}: {'; '.join(parts) or 'nothing to do'}."


def fingerprint(key: bytes) -> str:
    """By which a secret is known again. It is keyed by the secret itself and short, so that it tells nothing of it."""
    return hmac.new(key, PURPOSE, hashlib.sha256).hexdigest()[:12]


# ---- each source -----------------------------------------------------------------------------------------------------


def _each(
    runtime: Runtime, mend: Callable[[ChannelAdvisor | Tims, Wanted, Standing], None]
) -> list[Standing]:  # fmt: skip
    settings = sources.load()
    done: list[Standing] = []
    for name, rules in settings.sources.items() if settings.address else ():
        standing = Standing(name, rules.system)
        try:
            client = runtime.channel_advisor if rules.system == "channel_advisor" else runtime.tims
            if rules.api and rules.api != getattr(client, "api", ""):
                continue  # another source speaks for this connection
            wanted = _wanted(settings, rules, client, standing)
            if wanted is not None:
                with database.lock(runtime.engine, f"subscriptions:{rules.system}", wait=LOCK_SECONDS):
                    _find(runtime.engine, client, wanted, standing)
                    mend(client, wanted, standing)
        except CrossdockError as error:
            standing.error = error
        done.append(standing)
    return done


def _wanted(
    settings: Settings, rules: Source, client: ChannelAdvisor | Tims, standing: Standing
) -> Wanted | None:  # fmt: skip
    """What should be there; None with the reason in `standing.off`."""
    secrets = sources.secrets_of(rules.system, client.connection)
    standing.off = getattr(client, "no_subscriptions", "")
    if not standing.off and not rules.signature.header:
        standing.off = (
            "No public page says how this API signs: fill in signature.header of receiver.yaml from the account's own "
            "deliveries. Until then polling brings its changes."
        )
    if not standing.off and secrets is None:
        standing.off = f"There is no signing secret: set {sources.variable(rules.system)}. Nothing was touched."
    if standing.off or secrets is None:
        return None
    standing.url, standing.types = settings.address + rules.path, tuple(sorted(rules.types))
    return Wanted(standing.url, settings.inside + rules.path, rules.types, rules, secrets)


def _find(engine: sa.Engine, client: ChannelAdvisor | Tims, wanted: Wanted, standing: Standing) -> None:
    """Reads what is there, and judges it."""
    there = client.subscriptions()
    with engine.begin() as connection:
        kept = subscriptions.of(connection, standing.system)
    standing.found = _judged(wanted, there, kept)
    standing.suspended = [
        f"{each.subscription.id} ({each.subscription.status})" for each in standing.found if each.state == "off"
    ]


def _judged(wanted: Wanted, there: Iterable[Subscription], kept: Mapping[str, sa.Row]) -> list[Found]:
    """What is there with its states, the newest first."""
    found, has_good = [], False
    first = datetime.min.replace(tzinfo=UTC)
    for each in sorted(there, key=lambda one: kept[one.id].made_at if one.id in kept else first, reverse=True):
        row = kept.get(each.id)
        state = _state(wanted, each, row.fingerprint if row else "")
        if state == "good" and has_good:
            state = "older"
        has_good |= state == "good"
        found.append(Found(each, state, row.made_at if row else None, row.since if row else None))
    return found


def _state(wanted: Wanted, one: Subscription, secret: str) -> str:
    if place(one.url) != place(wanted.url):
        return "elsewhere"
    if not one.is_on:
        return "off"
    if secret not in wanted.fingerprints:
        return "unknown secret"
    if one.types != wanted.types:
        return "other types"
    return "good" if secret == wanted.fingerprints[0] else "old secret"


def place(url: str) -> tuple[str, str, int | None, str] | None:
    """What makes an address ours: scheme, host, port and path, without the query. None for what is no address."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
        return parts.scheme, parts.hostname or "", port, parts.path
    except ValueError:
        return None


def _mend(
    engine: sa.Engine, client: ChannelAdvisor | Tims, wanted: Wanted, standing: Standing, *, rotate: bool
) -> None:  # fmt: skip
    """Makes what lacks, then ends what is not wanted, in this order: nothing is delivered in between otherwise."""
    with writes.permitted(_for_the_receiver):
        if wanted.types and (rotate or standing.good is None):
            _make(engine, client, wanted, standing)
            _find_again(engine, client, wanted, standing)
        for each in list(standing.found):
            if _is_over(each, standing.good, wanted):
                client.unsubscribe(each.subscription.id)
                standing.ended.append(each.subscription.id)
                standing.found.remove(each)
    with engine.begin() as connection:
        subscriptions.keep_only(connection, standing.system, [each.subscription.id for each in standing.found])


def _for_the_receiver() -> None:
    """The permission: no record is changed, and whoever has given the receiver an address wants its subscriptions."""


def _find_again(engine: sa.Engine, client: ChannelAdvisor | Tims, wanted: Wanted, standing: Standing) -> None:
    suspended = standing.suspended
    _find(engine, client, wanted, standing)
    standing.suspended = suspended


def _is_over(one: Found, good: Found | None, wanted: Wanted) -> bool:
    """Whether a subscription is to be ended now."""
    if one.state in ("elsewhere", "good"):
        return False
    if one.state in ("off", "unknown secret") or not wanted.types:
        return good is not None or not wanted.types
    return good is not None and good.made_at is not None and datetime.now(UTC) - good.made_at >= OVERLAP


def _make(engine: sa.Engine, client: ChannelAdvisor | Tims, wanted: Wanted, standing: Standing) -> None:
    """Subscribes with the present secret, at an address of ours that none of our subscriptions has. Raises what the
    system answers, ConfigError or Transient where the receiver does not take that secret."""
    key = wanted.secrets.keys[0]
    prove(wanted)
    used = {each.subscription.url for each in standing.found}
    free = [url for url in (wanted.url, *(f"{wanted.url}?{n}" for n in range(2, 100))) if url not in used][:ADDRESSES]
    for url in free:
        try:
            made = client.subscribe(url, wanted.types, wanted.secrets.values[0])
        except RecordRejected as refused:
            if refused.status == 409 and url != free[-1]:  # another application of the account has it
                continue
            fields = ", ".join(f"{one.field} {one.code}".strip() for one in refused.refusals) or refused.code
            raise ConfigError(
                f"{NAMES[standing.system]} takes no subscription of {url}: {refused.status} {fields}".strip() + ".",
                do=f"A secret has 32 to 128 characters (`openssl rand -hex 32`, {sources.variable(standing.system)}), "
                "and an address begins with https unless it is this machine's.",
                system=standing.system,
            ) from None
        with engine.begin() as connection:
            subscriptions.note(connection, standing.system, made.id, fingerprint(key), made.made_at)
        standing.made.append(made.id)
        return


def prove(wanted: Wanted) -> None:
    """Sends the receiver a signed delivery that is no event: whoever takes the secret answers 400, and writes nothing.
    Raises ConfigError where it does not take the secret, Transient where it does not answer."""
    rules, body, stamp = wanted.rules.signature, b"[]", str(int(time.time()))
    headers = {"Content-Type": "application/json"}
    headers |= {rules.timestamp: stamp} if rules.timestamp else {}
    headers[rules.header] = sources.signed(rules, wanted.secrets.keys[0], stamp, body)
    where = f"The receiver at {wanted.inside}"
    try:
        with requests.Session() as session:
            session.trust_env = False
            answer = session.post(
                wanted.inside, data=body, headers=headers, timeout=ANSWER_SECONDS, allow_redirects=False
            )
    except requests.RequestException as error:
        raise Transient(
            f"{where} cannot be reached ({type(error).__name__}); no subscription was made.",
            do=f"Start `crossdock receive`; set {sources.INSIDE_URL} if this machine reaches it by another address.",
        ) from None
    if answer.status_code == 400:
        return
    if answer.status_code in (401, 404):
        named = " It may also be that `addresses` in receiver.yaml lets nothing of this machine in."
        raise ConfigError(
            f"{where} does not take the present secret ({answer.status_code}); no subscription was made."
            + (named if wanted.rules.addresses and answer.status_code == 401 else ""),
            do=f"Start it anew with {sources.variable(wanted.rules.system)} as it is here, and the secret before it as "
            f"{sources.variable(wanted.rules.system)}_PREVIOUS.",
        )
    raise Transient(
        f"{where} answered {answer.status_code}; no subscription was made.",
        do="Look at its log, and at the proxy in front of it.",
    )


# ---- alerts ----------------------------------------------------------------------------------------------------------


def _alerts(connection: sa.Connection, standing: Standing, rules: Source) -> Iterator[dict[str, Any]]:
    name = NAMES[standing.system]
    if standing.suspended:
        again = (
            f"It was made anew as {', '.join(standing.made)}." if standing.made else "It is made anew by the next run."
        )
        yield {
            "kind": "subscription_suspended",
            "key": standing.source,
            "title": f"{name} had stopped to deliver events",
            "body": f"Suspended or disabled: {', '.join(standing.suspended)}. {again} What was not delivered is found "
            "by polling. Was the receiver down or unreachable for a day? See its log, and `crossdock events list`.",
        }
    if standing.error is not None and not isinstance(standing.error, Transient):
        yield {
            "kind": "subscription_failed",
            "key": standing.source,
            "title": f"{name}: no subscription to its events",
            "body": f"{standing.error} Polling brings its changes meanwhile. Then see "
            "`crossdock events subscriptions --apply`.",
        }
    if silent := silence(connection, standing, rules):
        yield {"kind": "events_silent", "key": standing.source, "title": f"{name} sends no events", "body": silent}


def silence(connection: sa.Connection, standing: Standing, rules: Source) -> str:
    """Says so where events do not come though they should: in the last hours polling has found three new records or
    more that no event named and that we have not made, changed since the subscription was made, and since the first of
    them nothing has come from the system. "" where all is well, where nothing is new, and where nobody can know."""
    good = standing.good
    if good is None or good.since is None or good.made_at is None:
        return ""
    names = {name for several in rules.events.values() for name in several}
    counts: dict[str, int] = {}
    began: list[datetime] = []
    for name in flows.all_flows():
        if name in names:
            count, first = connection.execute(_unheard(name, standing.system, good.since, good.made_at)).one()
            if count:
                counts[name] = count
                began.append(first)
    if sum(counts.values()) < LEAST:
        return ""
    event = ops_webhook_event.c
    heard = sa.select(sa.func.count()).where(event.system == standing.system, event.received_at >= min(began))
    if connection.scalar(heard):
        return ""
    found = ", ".join(f"{name} {count}" for name, count in counts.items())
    return (
        f"Since {min(began):%Y-%m-%d %H:%M} UTC polling has found new records ({found}), and no event has come, though "
        f"the subscription {good.subscription.id} is on. Is the receiver reachable from outside at {standing.url}, and "
        "does its log show refusals? Nothing is lost: polling goes on."
    )


def _unheard(flow: str, system: str, since: datetime, made_at: datetime) -> sa.Select:
    """How many records of a flow polling has seen first, without an event, and when the first of them came. Documents
    that were made here are none: whether a system announces those is its own affair."""
    raw, event = flows.get(flow).source.raw, ops_webhook_event.c
    before = raw.alias("before")
    own = [each.entity for each in flows.all_flows().values() if each.target == system]
    start = sa.func.greatest(sa.func.now() - LOOK_BACK, made_at)
    return (
        sa.select(sa.func.count(raw.c.key.distinct()), sa.func.min(raw.c.received_at))
        .select_from(ops_batch)
        .join(ops_work, sa.and_(ops_work.c.batch_id == ops_batch.c.id, ops_work.c.queue == flow))
        .join(raw, sa.and_(raw.c.key == ops_work.c.key, raw.c.hash == ops_work.c.hash))
        .where(
            ops_batch.c.flow == flow,
            ops_batch.c.kind == "scheduled",
            ops_batch.c.created_at >= start,
            raw.c.received_at.between(start, sa.func.now() - SILENT_FOR),
            raw.c.version >= since,
            ~sa.exists().where(before.c.key == raw.c.key, before.c.received_at < raw.c.received_at),
            ~sa.exists().where(event.system == system, event.flow == flow, event.key == raw.c.key),
            ~sa.exists().where(ops_link.c.entity.in_(own), ops_link.c.target_id == raw.c.key),
        )
    )


def lines(standings: Sequence[Standing]) -> list[dict[str, object]]:
    """A row for each subscription that is there and for each that lacks, for people and programs."""
    rows: list[dict[str, object]] = []
    for one in standings:
        rows += [
            {
                "source": one.source,
                "id": each.subscription.id,
                "address": each.subscription.url,
                "types": sorted(each.subscription.types),
                "status": each.subscription.status,
                "state": each.state,
                "made_at": each.made_at,
            }
            for each in one.found
        ]
        if one.url and one.types and one.good is None:
            rows.append(
                {"source": one.source, "id": None, "address": one.url, "types": list(one.types), "status": "",
                 "state": "missing", "made_at": None}
            )  # fmt: skip
    return rows

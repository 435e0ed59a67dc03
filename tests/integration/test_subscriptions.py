"""Subscriptions are kept as they should be: on both systems over HTTP, with a real receiver and a real Postgres."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from crossdock import flows
from crossdock.errors import AuthError, ConfigError, RateLimited, Transient
from crossdock.receiver import sources
from crossdock.receiver.sources import Secrets
from crossdock.runtime import Runtime
from crossdock.services import subscriptions as service
from crossdock.steps import events as worker
from crossdock.store import subscriptions as store
from crossdock.store import webhook_events
from crossdock.store.webhook_events import Event, Filter
from crossdock.systems import writes
from crossdock.systems.channel_advisor import Facade
from crossdock.systems.subscriptions import Subscription
from crossdock.systems.tims import Adapted, Tims
from integration.builders import line, place
from integration.environment import Environment
from integration.receivers import SECRET, SHOP, TIMS, receiving

NEW = "another-secret-of-a-subscription-of-a-test"
FOREIGN = "http://127.0.0.1:9/hooks/somebody"
BOTH = Secrets((NEW, SECRET))


@pytest.fixture(scope="module")
def shop(long_lived_environment: Environment) -> Environment:
    """An environment in which nothing happens but what a test does, read once."""
    long_lived_environment.part = 10**9
    long_lived_environment.tick("2011-01-05")
    long_lived_environment.sync()
    return long_lived_environment


@pytest.fixture
def receiver(shop: Environment, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A receiver that has both secrets; its address and the older secret are those of the environment."""
    with receiving(shop.database_url, {"channel_advisor": BOTH, "tims": BOTH}) as url:
        monkeypatch.setenv(sources.PUBLIC_URL, url)
        use(monkeypatch, SECRET)
        yield url


@pytest.fixture(autouse=True)
def _nothing_is_left(shop: Environment) -> Iterator[None]:
    yield
    shop.clear_faults()
    with shop.runtime() as runtime, writes.permitted(writes.always):
        for client in (runtime.channel_advisor, runtime.tims):
            for each in client.subscriptions():
                client.unsubscribe(each.id)
        with runtime.engine.begin() as connection:
            for table in ("ops.subscription", "ops.webhook_event", "ops.alert", "ops.circuit"):
                connection.exec_driver_sql(f"DELETE FROM {table}")


def use(monkeypatch: pytest.MonkeyPatch, secret: str, previous: str = "") -> None:
    for system in ("channel_advisor", "tims"):
        monkeypatch.setenv(sources.variable(system), secret)
        monkeypatch.setenv(f"{sources.variable(system)}_PREVIOUS", previous)


def apply(shop: Environment, **more: Any) -> dict[str, service.Standing]:
    with shop.runtime() as runtime:
        return {one.source: one for one in service.apply(runtime, **more)}


def keep(shop: Environment) -> dict[str, service.Standing]:
    with shop.runtime() as runtime:
        return {one.source: one for one in service.keep(runtime)}


def there(shop: Environment, system: str = "channel_advisor") -> list[Subscription]:
    with shop.runtime() as runtime:
        client: Any = runtime.system(system)
        return client.subscriptions()


def subscribe(shop: Environment, url: str, system: str = "channel_advisor", secret: str = SECRET) -> Subscription:
    types = ["OrderCreated"] if system == "channel_advisor" else ["item.updated"]
    with shop.runtime() as runtime, writes.permitted(writes.always):
        client: Any = runtime.system(system)
        return client.subscribe(url, types, secret)


def alerts(shop: Environment) -> dict[str, str]:
    """Those of subscriptions and events."""
    listed = shop.query("SELECT kind, body FROM ops.alert WHERE kind ~ '^(subscription|events)_'")
    return {row.kind: row.body for row in listed}


def let_overlap_pass(shop: Environment) -> None:
    shop.query("UPDATE ops.subscription SET made_at = made_at - interval '11 minutes' RETURNING 1")


# ---- made, compared, left alone --------------------------------------------------------------------------------------


def test_subscriptions_are_made_once_on_both_systems_and_each_is_of_the_types_that_flows_read(
    shop: Environment, receiver: str
):
    first = apply(shop)
    assert set(first) == {"channel_advisor", "tims"}
    for name, path in (("channel_advisor", SHOP), ("tims", TIMS)):
        (made,) = there(shop, name)
        assert (made.url, made.is_on) == (receiver + path, True)
        assert made.types == sources.load().sources[name].types
        assert first[name].made == [made.id]
        assert first[name].is_right
    again = apply(shop)
    assert all(one.made == one.ended == [] and one.is_right for one in again.values())


def test_an_event_of_such_a_subscription_is_taken(shop: Environment, receiver: str):
    apply(shop)
    key = place(shop, line())
    wait_for(shop, f"SELECT 1 FROM ops.webhook_event WHERE key = '{key}' AND flow = 'orders'")


def wait_for(shop: Environment, statement: str, seconds: float = 15.0) -> None:
    until = time.monotonic() + seconds
    while not shop.query(statement):
        assert time.monotonic() < until, statement
        time.sleep(0.1)


def test_comparing_changes_nothing_and_says_what_lacks(shop: Environment, receiver: str):
    with shop.runtime() as runtime:
        found = service.compare(runtime)
    assert not any(one.is_right for one in found)
    assert [row["state"] for row in service.lines(found)] == ["missing", "missing"]
    assert there(shop) == there(shop, "tims") == []


@pytest.mark.parametrize("system", ["channel_advisor", "tims"])
def test_subscriptions_of_other_addresses_are_not_touched(shop: Environment, receiver: str, system: str):
    others = [FOREIGN, f"{receiver}/hooks/other", f"{receiver.replace('127.0.0.1', 'localhost')}{SHOP}"]
    before = [subscribe(shop, url, system) for url in others]
    apply(shop)
    apply(shop, rotate=True)
    left = {each.id for each in there(shop, system)}
    assert {each.id for each in before} <= left
    assert [each.state for each in keep(shop)[system].found].count("elsewhere") == len(others)


def test_one_that_was_not_made_here_has_a_secret_that_nobody_knows_and_is_replaced(shop: Environment, receiver: str):
    before = subscribe(shop, receiver + SHOP)
    done = apply(shop)["channel_advisor"]
    assert done.ended == [before.id]
    (left,) = there(shop)
    assert left.url == f"{receiver}{SHOP}?2"
    assert done.is_right


def test_one_of_other_types_is_made_anew_and_the_older_one_ends_later(
    shop: Environment, receiver: str, monkeypatch: pytest.MonkeyPatch
):
    apply(shop)
    shipped = sources.load()
    fewer = msgspec.structs.replace(shipped.sources["channel_advisor"], subscribe=("OrderCreated",))
    changed = msgspec.structs.replace(shipped, sources=shipped.sources | {"channel_advisor": fewer})
    monkeypatch.setattr(sources, "load", lambda: changed)
    assert len(apply(shop)["channel_advisor"].made) == 1
    assert len(there(shop)) == 2
    let_overlap_pass(shop)
    assert len(apply(shop)["channel_advisor"].ended) == 1
    assert [each.types for each in there(shop)] == [frozenset({"OrderCreated"})]


def test_a_source_that_no_flow_reads_has_no_subscription(
    shop: Environment, receiver: str, monkeypatch: pytest.MonkeyPatch
):
    apply(shop)
    shipped = sources.load()
    none = msgspec.structs.replace(shipped.sources["tims"], events={"item.updated": ()})
    changed = msgspec.structs.replace(shipped, sources=shipped.sources | {"tims": none})
    monkeypatch.setattr(sources, "load", lambda: changed)
    done = apply(shop)["tims"]
    assert (len(done.ended), done.is_right) == (1, True)
    assert there(shop, "tims") == []


def test_without_an_address_events_are_off_and_nothing_is_wrong(shop: Environment, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(sources.PUBLIC_URL, raising=False)
    assert keep(shop) == {}
    assert alerts(shop) == {}


def test_a_source_without_a_secret_is_quiet_and_nothing_of_it_is_touched(
    shop: Environment, receiver: str, monkeypatch: pytest.MonkeyPatch
):
    apply(shop)
    monkeypatch.delenv(sources.variable("tims"))
    done = keep(shop)["tims"]
    assert "no signing secret" in done.off
    assert len(there(shop, "tims")) == 1
    assert alerts(shop) == {}


# ---- a new secret ----------------------------------------------------------------------------------------------------


def test_a_new_secret_goes_into_force_without_a_gap_while_events_flow(
    shop: Environment, receiver: str, monkeypatch: pytest.MonkeyPatch
):
    apply(shop)
    before = counts(shop)
    keys: list[str] = []
    stop = threading.Event()

    def sell() -> None:
        while not stop.is_set():
            keys.append(place(shop, line()))
            time.sleep(0.05)

    seller = threading.Thread(target=sell)
    seller.start()
    time.sleep(0.5)
    use(monkeypatch, NEW, previous=SECRET)
    first = keep(shop)["channel_advisor"]
    time.sleep(0.5)
    let_overlap_pass(shop)
    second = keep(shop)["channel_advisor"]
    time.sleep(0.5)
    stop.set()
    seller.join()
    assert (len(first.made), first.ended) == (1, [])
    assert len(second.ended) == 1
    assert [each.url for each in there(shop)] == [f"{receiver}{SHOP}?2"]
    listed = ", ".join(f"'{key}'" for key in keys)
    heard = f"SELECT count(DISTINCT key) AS n FROM ops.webhook_event WHERE key IN ({listed})"
    wait_for(shop, f"{heard} HAVING count(DISTINCT key) = {len(keys)}")
    after = counts(shop)
    assert after.get("failed", 0) == before.get("failed", 0), "each delivery was answered with 202"
    assert after["taken"] > before.get("taken", 0)


def counts(shop: Environment) -> dict[str, int]:
    return shop.channel_advisor.call("GET", "webhooks")


def test_a_secret_that_the_receiver_does_not_have_makes_no_subscription_and_the_older_one_stays(
    shop: Environment, monkeypatch: pytest.MonkeyPatch
):
    with receiving(shop.database_url) as url:
        monkeypatch.setenv(sources.PUBLIC_URL, url)
        use(monkeypatch, SECRET)
        apply(shop)
        use(monkeypatch, NEW, previous=SECRET)
        done = keep(shop)
        for name in ("channel_advisor", "tims"):
            assert isinstance(done[name].error, ConfigError)
            assert "does not take the present secret" in str(done[name].error)
            assert len(there(shop, name)) == 1
        assert NEW not in str(done)
    assert NEW not in alerts(shop)["subscription_failed"]


def test_a_receiver_that_does_not_answer_gets_no_subscription(shop: Environment, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(sources.PUBLIC_URL, "http://127.0.0.1:9")
    use(monkeypatch, SECRET)
    with pytest.raises(Transient, match="cannot be reached"):
        keep(shop)
    assert there(shop) == []


def test_a_secret_that_a_system_does_not_take_is_told_with_what_to_do(
    shop: Environment, monkeypatch: pytest.MonkeyPatch
):
    short = SECRET[:20]
    with receiving(shop.database_url, {"tims": Secrets((short,))}) as url:
        monkeypatch.setenv(sources.PUBLIC_URL, url)
        use(monkeypatch, short)
        error = apply(shop)["tims"].error
    assert isinstance(error, ConfigError)
    assert "32 to 128 characters" in error.do
    assert short not in str(error)


def test_asking_for_a_rotation_makes_another_one_with_the_present_secret(shop: Environment, receiver: str):
    apply(shop)
    done = apply(shop, rotate=True)["tims"]
    assert (len(done.made), done.ended, done.is_right) == (1, [], True)
    assert {each.url for each in there(shop, "tims")} == {receiver + TIMS, f"{receiver}{TIMS}?2"}
    let_overlap_pass(shop)
    assert len(apply(shop)["tims"].ended) == 1


def test_no_table_and_no_message_has_a_secret(shop: Environment, receiver: str):
    done = apply(shop)
    kept = str(shop.query("SELECT * FROM ops.subscription"))
    assert SECRET not in kept + str(done) + str(service.lines(list(done.values())))
    assert len({row.fingerprint for row in shop.query("SELECT fingerprint FROM ops.subscription")}) == 1


# ---- what goes wrong -------------------------------------------------------------------------------------------------


def test_a_suspended_subscription_is_made_anew_and_raises_one_alert(shop: Environment, monkeypatch: pytest.MonkeyPatch):
    with receiving(shop.database_url) as url:
        port = int(url.rpartition(":")[2])
        monkeypatch.setenv(sources.PUBLIC_URL, url)
        use(monkeypatch, SECRET)
        first = apply(shop)["channel_advisor"]
    place(shop, line())
    until = time.monotonic() + 20
    while counts(shop).get("failed", 0) == 0 and time.monotonic() < until:
        time.sleep(0.1)
    shop.channel_advisor.call("PUT", "clock", {"advance": 24 * 3600 + 1})
    shop.now += timedelta(seconds=24 * 3600 + 1)
    shop.channel_advisor.call("POST", "expire-tokens")
    while not any(each.status == "Suspended" for each in there(shop)):
        assert time.monotonic() < until
        time.sleep(0.1)
    with receiving(shop.database_url, port=port):
        done = keep(shop)["channel_advisor"]
        assert done.ended == first.made
        assert len(done.made) == 1
        assert done.is_right
        assert first.made[0] in alerts(shop)["subscription_suspended"]
        shop.query("DELETE FROM ops.alert RETURNING 1")
        keep(shop)
    assert "subscription_suspended" not in alerts(shop)


@pytest.mark.parametrize("where", ["noted", "ended"])
def test_one_that_is_killed_in_the_middle_is_completed_by_the_next(
    shop: Environment, receiver: str, monkeypatch: pytest.MonkeyPatch, where: str
):
    apply(shop)
    killed = (store, "note") if where == "noted" else (Facade, "unsubscribe")
    with monkeypatch.context() as patch:
        patch.setattr(*killed, _die)
        use(monkeypatch, NEW)  # the older one's secret is lost: it ends at once
        with pytest.raises(KeyboardInterrupt):
            apply(shop)
    assert len(there(shop)) == 2
    done = apply(shop)["channel_advisor"]
    (left,) = there(shop)
    assert [each.subscription.id for each in done.found if each.state == "good"] == [left.id]
    assert {
        row.subscription_id for row in shop.query("SELECT * FROM ops.subscription WHERE system = 'channel_advisor'")
    } == {left.id}


def _die(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def test_two_at_once_make_one(shop: Environment, receiver: str):
    threads = [threading.Thread(target=apply, args=(shop,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(there(shop)), len(there(shop, "tims"))) == (1, 1)


def test_an_address_that_is_taken_is_left_for_the_next_one(
    shop: Environment, receiver: str, monkeypatch: pytest.MonkeyPatch
):
    subscribe(shop, receiver + SHOP)
    listed = Facade.subscriptions
    with monkeypatch.context() as patch:  # as of another application, which the list does not show
        patch.setattr(Facade, "subscriptions", lambda self: [one for one in listed(self) if "?" in one.url])
        done = apply(shop)["channel_advisor"]
    assert done.found[0].subscription.url == f"{receiver}{SHOP}?2"


FAILURES = [
    ("rate_limited", {"seconds": 1}, RateLimited), ("error_before", {}, Transient),
    ("denied_200", {"shape": "error"}, AuthError),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "options", "expected"), FAILURES, ids=[kind for kind, *_ in FAILURES])
def test_a_system_that_fails_keeps_nobody_from_the_other_one_and_the_next_run_makes_good(
    shop: Environment, receiver: str, kind: str, options: dict[str, Any], expected: type[Exception]
):
    shop.fault("channel_advisor", kind, path="/v2/webhooks", **options)
    done = apply(shop)
    assert isinstance(done["channel_advisor"].error, expected)
    assert done["tims"].is_right
    shop.clear_faults()
    shop.query("DELETE FROM ops.circuit RETURNING 1")
    assert apply(shop)["channel_advisor"].is_right
    assert len(there(shop)) == 1


def test_a_lost_answer_leaves_no_subscription_of_a_secret_that_nobody_knows(shop: Environment, receiver: str):
    shop.fault("channel_advisor", "error_after", path="/v2/webhooks", method="POST", times=1)
    assert isinstance(apply(shop)["channel_advisor"].error, Transient)
    assert len(there(shop)) == 1
    assert apply(shop)["channel_advisor"].is_right
    assert len(there(shop)) == 1


class Memory:
    """A system that has subscriptions and nothing else; each call may be the last one, before or after its effect."""

    api, connection = "v2", None

    def __init__(self, chance: random.Random) -> None:
        self.chance, self.left = chance, 0
        self.held: dict[str, tuple[Subscription, str]] = {}  # with the secret
        self.number = 0

    def _step(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt

    def subscriptions(self) -> list[Subscription]:
        self._step()
        return [each for each, _ in self.held.values()]

    def subscribe(self, url: str, types: Iterable[str], secret: str, *, is_on: bool = True) -> Subscription:
        self._step()
        assert url not in {each.url for each, _ in self.held.values()}
        self.number += 1
        made = Subscription(str(self.number), url, frozenset(types), "", is_on)
        self.held[made.id] = (made, secret)
        self._step()
        return made

    def unsubscribe(self, id: str) -> None:
        self._step()
        self.held.pop(id, None)
        self._step()


@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_there_and_wherever_it_is_killed_one_with_the_present_secret_is_left(
    shop: Environment, monkeypatch: pytest.MonkeyPatch, seed: int
):
    """And it is killed so: each time another call is the last one."""
    chance = random.Random(seed)
    url = "http://127.0.0.1:9"
    monkeypatch.setenv(sources.PUBLIC_URL, url)
    use(monkeypatch, NEW, previous=chance.choice(["", SECRET]))
    monkeypatch.setattr(service, "prove", lambda wanted: None)
    monkeypatch.setattr(service, "OVERLAP", timedelta(0))
    types = sources.load().sources["channel_advisor"].types
    system, other = Memory(chance), Memory(chance)
    other.api = "v9"
    with shop.runtime() as opened:
        runtime: Any = SimpleNamespace(engine=opened.engine, channel_advisor=system, tims=other)
        addresses = [f"{url}{SHOP}{query}" for query in ("", "?2", "?3", "?4")] + [FOREIGN, f"{url}/other"]
        for address in chance.sample(addresses, chance.randint(0, len(addresses))):
            secret = chance.choice([NEW, SECRET, "lost-" + SECRET])
            made = system.subscribe(
                address, chance.choice([types, ["OrderCreated"]]), secret, is_on=chance.random() < 0.7
            )
            if chance.random() < 0.7:
                with opened.engine.begin() as connection:
                    store.note(connection, "channel_advisor", made.id, service.fingerprint(secret.encode()), None)
        before = {id for id, (each, _) in system.held.items() if not each.url.startswith(url + SHOP)}
        for _ in range(3):
            system.left = chance.randint(1, 12)
            with contextlib.suppress(KeyboardInterrupt):
                service.apply(runtime, rotate=chance.random() < 0.3)
        system.left = 0
        (done,) = (one for one in service.apply(runtime) if one.source == "channel_advisor")
    assert done.is_right, service.sentence(done)
    ours = {id for id, (each, _) in system.held.items() if each.url.startswith(url + SHOP)}
    (left,) = ours
    assert (system.held[left][0].types, system.held[left][0].is_on, system.held[left][1]) == (types, True, NEW)
    assert set(system.held) - ours == before


def test_an_api_that_nobody_knows_the_signature_of_is_quiet(shop: Environment, receiver: str):
    as_v1 = replace(
        shop.connections["channel_advisor"], extra=shop.connections["channel_advisor"].extra | {"api": "v1"}
    )
    with Runtime(shop.database_url, (shop.connections | {"channel_advisor": as_v1}).__getitem__) as runtime:
        done = {one.source: one for one in service.keep(runtime)}
    assert set(done) == {"channel_advisor_v1", "tims"}
    assert "signature.header" in done["channel_advisor_v1"].off
    assert alerts(shop) == {}


def test_a_tims_without_webhooks_is_quiet(shop: Environment, receiver: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Tims, "no_subscriptions", Adapted.no_subscriptions)
    assert "no webhooks" in keep(shop)["tims"].off
    assert (there(shop, "tims"), alerts(shop)) == ([], {})


# ---- silence ---------------------------------------------------------------------------------------------------------


def found_by_polling(shop: Environment, count: int) -> list[str]:
    """New orders that polling reads and no event names, half an hour ago."""
    shop.tick(shop.now + timedelta(minutes=10))  # behind the subscription, by the system's clock
    keys = [place(shop, line()) for _ in range(count)]
    shop.tick(shop.now + timedelta(minutes=10))
    shop.sync()
    listed = ", ".join(f"'{key}'" for key in [*keys, "none"])
    shop.query(
        f"UPDATE raw.channel_advisor_orders SET received_at = now() - interval '30 minutes' WHERE key IN ({listed}) "
        "RETURNING 1"
    )
    shop.query("UPDATE ops.subscription SET made_at = now() - interval '2 hours' RETURNING 1")
    return keys


@pytest.fixture
def mute(shop: Environment, receiver: str) -> None:
    """Both systems are subscribed to and deliver nothing."""
    apply(shop)
    shop.fault("channel_advisor", "event_never")
    shop.fault("tims", "event_never")


@pytest.mark.usefixtures("mute")
def test_events_that_are_silent_while_polling_finds_new_records_raise_an_alert(shop: Environment):
    found_by_polling(shop, service.LEAST)
    keep(shop)
    assert "orders 3" in alerts(shop)["events_silent"]


@pytest.mark.usefixtures("mute")
def test_a_quiet_night_raises_no_alert(shop: Environment):
    found_by_polling(shop, 0)
    keep(shop)
    assert alerts(shop) == {}


@pytest.mark.usefixtures("mute")
def test_few_records_raise_no_alert(shop: Environment):
    found_by_polling(shop, service.LEAST - 1)
    keep(shop)
    assert alerts(shop) == {}


@pytest.mark.usefixtures("mute")
def test_records_that_events_named_before_polling_found_them_raise_no_alert(shop: Environment):
    keys = found_by_polling(shop, service.LEAST)
    with shop.runtime() as runtime, runtime.engine.begin() as connection:
        webhook_events.add(connection, [Event("channel_advisor", f"e-{key}", "orders", "", key) for key in keys])
    shop.query("UPDATE ops.webhook_event SET received_at = now() - interval '2 hours' RETURNING 1")
    keep(shop)
    assert alerts(shop) == {}


@pytest.mark.usefixtures("mute")
def test_a_single_event_since_then_shows_that_they_come(shop: Environment):
    found_by_polling(shop, service.LEAST)
    with shop.runtime() as runtime, runtime.engine.begin() as connection:
        webhook_events.add(connection, [Event("channel_advisor", "e-1", "returns", "", "1")])
    keep(shop)
    assert alerts(shop) == {}


@pytest.mark.usefixtures("mute")
def test_what_was_there_before_the_subscription_raises_no_alert(shop: Environment):
    found_by_polling(shop, service.LEAST)
    shop.query("UPDATE ops.subscription SET since = since + interval '1 day' RETURNING 1")
    keep(shop)
    assert alerts(shop) == {}


@pytest.mark.usefixtures("mute")
def test_documents_that_we_have_made_ourselves_raise_no_alert(shop: Environment):
    """Polling of holds reads the sales orders that orders have made in TIMS."""
    keys = found_by_polling(shop, service.LEAST)
    with shop.runtime() as runtime, runtime.engine.begin() as connection:
        webhook_events.add(connection, [Event("channel_advisor", f"e-{key}", "orders", "", key) for key in keys])
    shop.sync(flow="holds")
    shop.query("UPDATE raw.tims_sales_orders SET received_at = now() - interval '30 minutes' RETURNING 1")
    assert shop.query("SELECT 1 FROM ops.batch WHERE flow = 'holds' AND kind = 'scheduled' AND read >= 3")
    keep(shop)
    assert alerts(shop) == {}


# ---- events that are kept --------------------------------------------------------------------------------------------


def ring(shop: Environment, *ids: str, flow: str = "orders", key: str = "1") -> None:
    with shop.runtime() as runtime, runtime.engine.begin() as connection:
        webhook_events.add(connection, [Event("channel_advisor", id, flow, "OrderCreated", key) for id in ids])


def test_events_that_were_worked_long_ago_are_deleted_in_portions_and_none_that_waits(
    shop: Environment, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(webhook_events, "PORTION", 3)
    ring(shop, *(f"old-{n}" for n in range(10)), "waits", "young")
    shop.query(
        "UPDATE ops.webhook_event SET received_at = now() - interval '40 days' WHERE event_id <> 'young' RETURNING 1"
    )
    shop.query("UPDATE ops.webhook_event SET worked_at = received_at WHERE event_id <> 'waits' RETURNING 1")
    with shop.runtime() as runtime:
        assert webhook_events.age(runtime.engine, timedelta(days=30)) == 10
    assert {row.event_id for row in shop.query("SELECT event_id FROM ops.webhook_event")} == {"waits", "young"}


def test_a_replay_is_worked_by_the_worker_that_runs(shop: Environment):
    key = place(shop, line())
    ring(shop, "evt-1", key=key)
    done = worker.Worked()
    with shop.runtime() as runtime:
        thread = threading.Thread(
            target=lambda: worker.work(runtime, flows.all_flows(), done, seconds=8.0, run_id="events/test")
        )
        thread.start()
        wait_for(shop, "SELECT 1 FROM ops.webhook_event WHERE worked_at IS NOT NULL")
        with runtime.engine.begin() as connection:
            assert webhook_events.replay(connection, Filter(ids=["evt-1"])) == 1
        wait_for(shop, "SELECT 1 FROM ops.webhook_event WHERE worked_at IS NOT NULL AND times = 2", 6.0)
        thread.join()
    assert done.events == 2
    assert [order["ExternalOrderID"] for order in shop.in_tims()].count(key) == 1


def test_an_event_that_no_flow_reads_is_not_replayed(shop: Environment):
    ring(shop, "evt-1", flow="")
    with shop.runtime() as runtime, runtime.engine.begin() as connection:
        assert webhook_events.replay(connection, Filter()) == 0
        assert connection.scalar(sa.select(sa.func.count()).select_from(webhook_events.table)) == 1

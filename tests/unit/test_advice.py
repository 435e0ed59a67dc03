"""What an alert says in the browser: nothing of it is lost, and commands are the second way."""

from __future__ import annotations

import re

import pytest

from crossdock.services import advice
from crossdock.settings import PROJECT

# Those that a failed or missing run is the cause of: they lead to the runs of their flow.
RUNS = {"task_failed", "undelivered", "unknown_outcome"}


def kinds() -> set[str]:
    """The headings of the runbook, which names every alert."""
    part = (PROJECT / "docs" / "runbook.md").read_text().partition("## Alerts")[2].partition("\n## ")[0]
    found = re.findall(r"^### ([a-z_]+(?:, [a-z_]+)*)", part, re.MULTILINE)
    return {name for each in found for name in each.split(", ")}


def words(*texts: str) -> list[str]:
    return sorted(" ".join(texts).split())


def test_a_command_is_the_second_way_and_nothing_is_lost() -> None:
    body = (
        "See `crossdock dead-letters list --flow orders`: each says what is wrong and what to do. They are counted by "
        "rule. Mend the cause and replay them together: `crossdock dead-letters replay --flow orders --rule RULE`."
    )
    found = advice.advice("dead_letters", "orders", "orders", body)
    assert "crossdock" not in found.what + found.do
    assert "They are counted by rule." in found.what
    assert found.page == "/letters"
    assert words(found.what, found.shell) == words(body)


BODIES = ["", "One.", "a\n\nb", "`crossdock x`", "<script>alert(1)</script> \u202e", "x" * 9_000]


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("key", ["orders", "a:b", "../../x?y#z", "<script>", ""])
def test_any_alert_has_a_way_in_the_browser(key: str, body: str) -> None:
    for kind in (*advice.WAYS, "a_kind_of_tomorrow"):
        for flow in ("orders", "a flow/of tomorrow", None):
            found = advice.advice(kind, key, flow, body)
            assert found.do
            assert found.label
            assert re.fullmatch(r"/[A-Za-z0-9_/?&=#%.~-]*", found.page), found.page
            assert words(found.what, found.shell) == words(body)


TWICE = {
    "payment_failed": "The payment failed; the order is held. Ask the buyer for another payment, or cancel the order "
    "on the channel.",
    "stale": "The last successful read of orders was at 2026-11-29 21:40 UTC. Look at the last runs of the DAG orders: "
    "is it paused, failing, or is the scheduler down?",
    "site_not_configured": "No configuration names site 955; its orders load with the defaults. Name the site in "
    "config/sites.yaml, or leave it if the defaults are right.",
    "late": "Look at the run of orders in Airflow: which task runs or waits, and for what?",
    "circuit_open": "It failed 5 times in a row since 2026-11-29 21:40 UTC. Its flows pause, the others go on; nothing "
    "is lost. They go on by themselves when it answers again.",
}  # fmt: skip


@pytest.mark.parametrize("kind", TWICE)
def test_an_advice_stands_once_in_the_words_of_the_alert(kind: str) -> None:
    """What the alert itself advises takes the place of the page's own words for it, and nothing of it is lost."""
    found = advice.advice(kind, "orders", "orders", TWICE[kind])
    for sentence in re.split(r"(?<=[.?])\s", advice.WAYS[kind][0]):
        assert sentence not in found.do or advice._likeness(sentence, TWICE[kind]) < advice.ALIKE
    assert set(words(TWICE[kind])) <= set(words(found.what, found.do))
    assert advice._likeness(found.what, found.do) < advice.ALIKE


def test_every_alert_has_a_heading_in_words() -> None:
    for kind in (*advice.WAYS, *RUNS, "a_kind_of_tomorrow"):
        assert re.fullmatch(r"[A-Z][A-Za-z ]+", advice.heading(kind)), kind
    assert set(advice.HEADINGS) <= {*advice.WAYS, *RUNS}


def test_every_alert_of_the_runbook_has_a_way_of_its_own() -> None:
    assert len(kinds()) > 25
    assert kinds() - RUNS - set(advice.WAYS) == set()


def test_pages_that_are_named_are_there() -> None:
    """Below the console's root; those of Airflow begin with /dags."""
    text = "".join(path.read_text() for path in (PROJECT / "plugins" / "console" / "pages").glob("*.py"))
    routes = {"/money/{first}": "/money/{period}", "/overview/system/{key}": "/overview/system/{name}",
              "/go-live/{key}": "/go-live/{flow}", "/go-live/{first}": "/go-live/{flow}"}  # fmt: skip
    for _, page, _ in advice.WAYS.values():
        plain = re.split("[?#]", page)[0]
        assert plain == "/" or plain.startswith("/dags/") or f'@router.get("{routes.get(plain, plain)}")' in text, page

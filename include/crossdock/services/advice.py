"""Alerts for people in a browser: what to do there, with the page where it is done; a command is the second way.

In: an alert as it was raised, for operators with a shell too. Out: its text without commands, the browser's way, the
commands apart. Never: a part of the alert that is lost.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

from crossdock import flows

_SENTENCE = re.compile(r"(?<=[.:;?!])\s+(?=[A-Z`0-9])|\n+")
_COMMAND = re.compile(r"`crossdock [^`]+`")


@dataclass(frozen=True)
class Advice:
    """What an alert says. `page`: below the console's root, or of Airflow where it begins with "/dags"; `shell`: its
    sentences with commands."""

    what: str
    do: str
    page: str
    label: str
    shell: str = ""


_RUNS = ("Look at the failed or missing runs in Airflow; a task's log says why. Clear it once the cause is mended.",
         "/dags/{dag}/runs", "Its runs in Airflow")  # fmt: skip
_SYSTEM = ("Nothing is lost: its flows pause and go on by themselves. Ask its operator if it stays so; see its calls.",
           "/overview/system/{key}", "The system")  # fmt: skip
WAYS: dict[str, tuple[str, str, str]] = {
    "dead_letters": ("Open them: each group says what is wrong. Mend the cause, then replay the group.",
                     "/letters", "Dead letters"),
    "unreadable_records": ("Each says what is wrong with it. A good version of the record closes its letter by itself.",
                           "/letters", "Dead letters"),
    "batch_stopped": ("See which rule it is. Mend the mapping, lookup or master data, and the next run takes the batch "
                      "up; or go on without its rejects.", "/#stopped", "Stopped batches"),
    "payment_failed": ("Ask the buyer for another payment, or cancel the order at the channel: the change arrives by "
                       "itself.", "/record?q={first}", "The order"),
    "guest_account": ("Correct the account of the site, then replay the dead letters.", "/rules/file?path=sites.yaml",
                      "Sites"),
    "file_refused": ("Its dead letter says what is wrong with the file.", "/letters", "Dead letters"),
    "unread_file": ("Move the file back into the folder above; the next run reads it.", "/dags/{dag}/runs",
                    "Its runs in Airflow"),
    "inbox": ("See who may read the inbox, and its settings; the next run looks again.", "/dags/{dag}/runs",
              "Its runs in Airflow"),
    "unexplained": ("Look at each difference: which side is right?", "/reconciliation", "Reconciliation"),
    "inventory_accuracy": ("Find out who else writes quantities; the compare has set them right.",
                           "/overview/records?flow=inventory&state=delivered", "What was written"),
    "price_approval": ("Decide on each, or on all of a filter.", "/approvals", "Approvals"),
    "launch_cap": ("Look at the records in their target; then release the flow, or put it back into shadow mode.",
                   "/go-live/{key}", "Go live"),
    "shadow_differs": ("Look at each record that is not the same: is our mapping wrong, or was it mistyped?",
                       "/go-live/{first}", "Go live"),
    "control_failed": ("Open the month: the control names the documents that break it.", "/money/{first}", "The month"),
    "configuration_conflict": ("Decide what each file shall be, and publish it.", "/rules", "Rules and lookups"),
    "config": ("Correct the file that it names.", "/rules", "Rules and lookups"),
    "unknown_settlement_line": ("Give the words a kind; then have the settlement worked again from its record.",
                                "/rules/file?path=lookups/settlement_kinds.csv", "Settlement kinds"),
    "location_not_configured": ("Name the location and the distribution center that offers its stock.",
                                "/rules/file?path=stock_offers.yaml", "Stock offers"),
    "site_not_configured": ("Name the site.", "/rules/file?path=sites.yaml", "Sites"),
    "tax_not_told": ("Add a row for the site (rate 0 where its prices hold no tax), then replay its orders.",
                     "/rules/file?path=lookups/taxes.csv", "Taxes"),
    "schema_drift": ("Look whether one of the fields matters, and map it.", "/mappings", "Mappings"),
    "customer_change_refused": ("Look at the customer: what was changed by which order. Set the field in TIMS by hand "
                                "if it is right.", "/record?q={first}", "The customer"),
    "product_conflict": ("Look at the item; if the channel was right, correct it in TIMS.", "/record?q={key}",
                         "The item"),
    "catalog_orphans": ("Create the item, or give one an alternate SKU, in TIMS; or take the product off the channel.",
                        "/reconciliation/orphans", "Products without an item"),
    "listings_switched_off": ("Nothing is wrong: this account's API has no listings. Take the sites out to be told no "
                              "more.", "/rules/file?path=catalog.yaml", "Catalogue"),
    "invoice_voided": ("If the shipment is to be invoiced after all, have it read now from its record.",
                       "/record?q={key}", "The invoice"),
    "shipment_corrected": ("Correct it at the channel by hand if the buyer needs it.", "/record?q={key}",
                           "The shipment"),
    "left_file": ("Take the file out of the inbox; or have it worked from its record.", "/record?q={key}", "The file"),
    "mixed_order_held": ("Look at each of the orders that it names.", "/record", "Find the order"),
    "source_clock": ("Nothing is lost. Ask the operator of the system to set its clock.", "/overview/system/{key}",
                     "The system"),
    "events_wait": ("Is the DAG events paused, failing, or is the scheduler down? Its task's log says why.",
                    "/dags/events/runs", "Its runs in Airflow"),
    "silent_source": ("Has really nothing changed there? See when each flow has read.", "/#lanes", "Flows"),
    "subscription_suspended": ("Was the receiver down or unreachable for a day? See its log.", "/overview/system/{key}",
                               "The system"),
    "subscription_failed": ("Polling brings all meanwhile. Mend what it names; the next hour tries again.",
                            "/overview/system/{key}", "The system"),
    "events_silent": ("Is the receiver reachable from outside? Does its log show refusals?", "/overview/system/{key}",
                      "The system"),
    "circuit_open": _SYSTEM, "system_down": _SYSTEM, "auth": _SYSTEM, "bad_answer": _SYSTEM,
    "stale": ("Is the DAG paused, failing, or is the scheduler down?", _RUNS[1], _RUNS[2]),
    "late": ("Which task runs or waits, and for what?", _RUNS[1], _RUNS[2]),
}  # fmt: skip


# What a kind of alerts is called where several of them are one row.
HEADINGS = {
    "auth": "Login refused", "bad_answer": "Answers that nobody can read", "config": "Wrong settings",
    "control_failed": "Controls that do not hold", "guest_account": "Guest accounts that are wrong",
    "circuit_open": "Systems that are left alone", "system_down": "Systems that do not answer",
    "events_wait": "Events that nobody works",
    "stale": "Not read in time", "late": "Runs that take too long", "silent_source": "Silent sources",
    "undelivered": "Too long in flight", "unknown_outcome": "Calls without an answer", "task_failed": "Failed tasks",
    "unexplained": "Unexplained differences", "dead_letters": "Many dead letters", "inbox": "Inbox out of reach",
    "unread_file": "Files that nobody has read", "left_file": "Files that lie in the inbox",
    "batch_stopped": "Stopped batches", "unreadable_records": "Records that cannot be taken",
    "launch_cap": "Launches that wait for a person", "shadow_differs": "Documents made otherwise by hand",
    "price_approval": "Prices that wait for approval", "source_clock": "Clocks that are wrong",
    "subscription_failed": "Subscriptions that cannot be made",
    "subscription_suspended": "Subscriptions that had stopped", "events_silent": "Systems without events",
}  # fmt: skip


def heading(kind: str) -> str:
    """What alerts of a kind are called."""
    words = kind.replace("_", " ")
    return HEADINGS.get(kind) or words[:1].upper() + words[1:]


def advice(kind: str, key: str, flow: str | None, body: str) -> Advice:
    """What to do about an alert in the browser. One of a kind that this page does not know leads to its runs. What its
    text advises itself stands there in place of ours: nobody reads it twice."""
    what, shell = spoken(body)
    do, page, label = WAYS.get(kind, _RUNS)
    if kind == "unreadable_records" and key == "reconcile":
        do, page, label = WAYS["unexplained"][0], "/reconciliation", "Reconciliation"
    if "{key}" in page and page.startswith("/overview/system/") and key not in ("channel_advisor", "tims"):
        do, page, label = _RUNS
    dag = flows.packages().get(flow or "", flow or "")
    if "{dag}" in page and not dag:
        page = "/#alerts"
    first = key.partition(":")[0].removeprefix("order ")
    names = {"dag": quote(dag, safe=""), "key": quote(key, safe=""), "first": quote(first, safe="")}
    what, do = _once(what, do)
    return Advice(what, do, page.format(**names), label, shell)


def _once(what: str, do: str) -> tuple[str, str]:
    """A text and an advice, where sentences of the text that say what one of the advice says take its place."""
    ours = _SENTENCE.split(do)
    replaced: list[list[str]] = [[] for _ in ours]
    rest: list[str] = []
    for sentence in _SENTENCE.split(what) if what else ():
        alike = [_likeness(sentence, one) for one in ours]
        best = max(range(len(ours)), key=alike.__getitem__)
        (replaced[best] if alike[best] >= ALIKE else rest).append(sentence)
    return " ".join(rest), " ".join(" ".join(own) if own else one for own, one in zip(replaced, ours, strict=True))


_WORD = re.compile(r"[a-z]{4,}")
ALIKE = 0.6  # of the words of the shorter one


def _likeness(one: str, other: str) -> float:
    """How much of the shorter sentence the other says, by its longer words; of two words both count, of one none."""
    words, others = (set(_WORD.findall(text.lower())) for text in (one, other))
    least, both = min(len(words), len(others)), len(words & others)
    return both / least if least > 2 or (least == 2 == both) else 0.0


def spoken(body: str) -> tuple[str, str]:
    """A text for operators as (what it says without commands, its sentences with commands). What leads over to a
    command goes with it."""
    what: list[str] = []
    shell: list[str] = []
    for one in (part.strip() for part in _SENTENCE.split(body) if part.strip()):
        if not _COMMAND.search(one):
            what.append(one)
            continue
        if what and what[-1].endswith(":"):
            shell.append(what.pop())
        shell.append(one)
    return " ".join(what), " ".join(shell)

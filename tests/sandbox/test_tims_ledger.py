"""The ledger and the stock adjustments of the TIMS sandbox, seen over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from contract.tims_calls import (
    NOW,
    Caller,
    adjustment,
    entry,
    errors,
    event,
    item,
    kit,
    new_key,
    on_hand,
    running,
)

SALE = (("1100", "98.00", "0.00"), ("4100", "10.00", "0.00"), ("4000", "0.00", "100.00"), ("4010", "0.00", "8.00"))
COST = (("5000", "44.00", "0.00"), ("1200", "0.00", "44.00"))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("tims"), per_minute=100_000) as (base, _):
        yield base


@pytest.fixture
def tims(served: str) -> Caller:
    requests.post(f"{served}/_sandbox/reset", timeout=10)
    requests.put(f"{served}/_sandbox/clock", json={"now": NOW}, timeout=10)
    caller = Caller(served)
    caller.apply(
        item("LAMP"),
        item("SHADE", Cost="3.3333"),
        kit("SET", LAMP=1, SHADE=2),
        item("WRAP", Type="Service"),
        on_hand("LAMP", MAIN=10, WEST=3),
        on_hand("SHADE", MAIN=9),
    )
    return caller


def reversal(**fields: Any) -> dict[str, Any]:
    return {"ExternalReference": new_key(), "Source": "Crossdock", "Reason": "Wrong unit cost"} | fields


def close(tims: Caller, *periods: str, status: str = "Closed") -> None:
    tims.apply(*[event("period", {"Period": period, "Status": status}) for period in periods])


def state(answer: requests.Response) -> tuple[int, str, str, list[str]]:
    output = answer.json()
    return answer.status_code, output["code"], output["CurrentStatus"], output["AllowedActions"]


def on_hand_of(tims: Caller, sku: str, place: str = "MAIN") -> int:
    locations = tims.get(f"/inventory/items/{sku}/quantity")["Locations"]
    return next(each["OnHand"] for each in locations if each["LocationID"] == place)


# ---- journal entries ----
def test_an_entry_that_balances_is_posted_and_read_again(tims: Caller) -> None:
    answer = tims.post("/gl/entries", entry(*SALE))
    made = answer.json()
    assert (answer.status_code, answer.headers["ETag"]) == (201, '"1"')
    assert tims.get(answer.headers["Location"].removeprefix("/api/v1")) == made
    assert {name: made[name] for name in ("Period", "Status", "OriginalEventDate", "ReversalOf", "ReversedBy")} == {
        "Period": "2011-01", "Status": "Posted", "OriginalEventDate": None, "ReversalOf": None, "ReversedBy": None,
    }  # fmt: skip


def test_lines_are_kept_in_the_order_of_their_numbers_with_their_dimensions(tims: Caller) -> None:
    body = entry(*COST)
    body["Lines"][0] |= {"Dimensions": {"Channel": "Amazon US", "SKU": None}, "Memo": "two lamps"}
    body["Lines"].reverse()
    lines = tims.made("/gl/entries", body)["Lines"]
    assert [each["LineNo"] for each in lines] == [1, 2]
    assert lines[0]["Dimensions"] == {"Channel": "Amazon US", "SKU": None}


def test_an_entry_that_is_off_by_a_cent_is_refused(tims: Caller) -> None:
    answer = tims.post("/gl/entries", entry(("5000", "44.00", "0.00"), ("1200", "0.00", "43.99")))
    assert errors(answer) == {("/Lines", "UNBALANCED")}
    assert "0.01" in answer.json()["errors"][0]["message"]


def test_every_error_of_an_entry_is_reported_together(tims: Caller) -> None:
    close(tims, "2011-01", "2011-02")
    tims.apply(event("account", {"AccountCode": "6190", "Blocked": True}))
    sides = (("9999", "1.00", "0.00"), ("6190", "0.00", "1.00"), ("1000", "1.00", "1.00"), ("1000", "0.00", "0.00"))
    answer = tims.post("/gl/entries", entry(*sides, CurrencyCode="QQQ"))
    assert errors(answer) == {
        ("/PostingDate", "PERIOD_CLOSED"), ("/CurrencyCode", "INVALID_CURRENCY"),
        ("/Lines/0/AccountCode", "UNKNOWN_ACCOUNT"), ("/Lines/1/AccountCode", "ACCOUNT_BLOCKED"),
        ("/Lines/2", "INVALID_AMOUNT"), ("/Lines/3", "INVALID_AMOUNT"),
    }  # fmt: skip
    assert (answer.json()["code"], answer.json()["NextOpenDate"]) == ("VALIDATION_FAILED", "2011-03-01")


@pytest.mark.parametrize("numbers", [(1, 3), (1, 1), (2, 3)])
def test_line_numbers_have_no_gap_and_no_twin(tims: Caller, numbers: tuple[int, int]) -> None:
    body = entry(*COST)
    for line, number in zip(body["Lines"], numbers, strict=True):
        line["LineNo"] = number
    assert errors(tims.post("/gl/entries", body)) == {("/Lines", "INVALID_VALUE")}


@pytest.mark.parametrize(
    ("given", "code"),
    [(44, "INVALID_TYPE"), ("44", "INVALID_FORMAT"), ("44.000", "INVALID_AMOUNT"), ("-44.00", "INVALID_AMOUNT")],
)
def test_money_is_a_string_of_two_places(tims: Caller, given: object, code: str) -> None:
    body = entry(*COST)
    body["Lines"][0]["Debit"] = given
    assert errors(tims.post("/gl/entries", body)) == {("/Lines/0/Debit", code)}


def test_a_soft_closed_period_refuses_until_it_is_opened_again_and_a_closed_one_for_ever(tims: Caller) -> None:
    close(tims, "2011-01", status="SoftClosed")
    assert errors(tims.post("/gl/entries", entry(*COST))) == {("/PostingDate", "PERIOD_CLOSED")}
    close(tims, "2011-01", status="Open")
    assert tims.post("/gl/entries", entry(*COST)).status_code == 201
    close(tims, "2011-01")
    again = [event("period", {"Period": "2011-01", "Status": "Open"})]
    answer = requests.post(f"{tims.base}/_sandbox/apply", json={"events": again}, timeout=10)
    assert (answer.status_code, "2011-01 is Closed" in answer.json()["error"]) == (422, True)


def test_a_day_that_no_period_has_is_closed(tims: Caller) -> None:
    answer = tims.post("/gl/entries", entry(*COST, PostingDate="2000-01-01"))
    assert (errors(answer), answer.json()["NextOpenDate"]) == ({("/PostingDate", "PERIOD_CLOSED")}, "2009-01-01")
    never = tims.post("/gl/entries", entry(*COST, PostingDate="2040-01-01"))
    assert errors(never) == {("/PostingDate", "PERIOD_CLOSED")}
    assert "NextOpenDate" not in never.json()


def test_an_entry_reference_is_used_once(tims: Caller) -> None:
    body = entry(*COST)
    made = tims.made("/gl/entries", body)
    answer = tims.post("/gl/entries", body | {"Lines": []})
    assert (answer.status_code, answer.json()["ExistingID"]) == (409, made["EntryID"])


def test_the_mirror_of_an_entry_exchanges_debit_and_credit_once(tims: Caller) -> None:
    made = tims.made("/gl/entries", entry(*SALE))
    path = f"/gl/entries/{made['EntryID']}"
    mirror = tims.made(f"{path}/reverse", reversal())
    assert (mirror["ReversalOf"], mirror["PostingDate"], mirror["Description"]) == (
        made["EntryID"], "2011-01-04", "Wrong unit cost",
    )  # fmt: skip
    assert [(each["Debit"], each["Credit"]) for each in mirror["Lines"]] == [
        (each["Credit"], each["Debit"]) for each in made["Lines"]
    ]
    old = tims.get(path)
    assert (old["Status"], old["ReversedBy"], old["RowVersion"]) == ("Reversed", mirror["EntryID"], 2)
    assert state(tims.post(f"{path}/reverse", reversal())) == (409, "INVALID_STATE", "Reversed", [])
    second = tims.post(f"/gl/entries/{mirror['EntryID']}/reverse", reversal())
    assert state(second) == (409, "INVALID_STATE", "Posted", [])


def test_a_mirror_falls_on_the_next_open_day_and_keeps_the_day_of_the_event(tims: Caller) -> None:
    ids = [tims.made("/gl/entries", entry(*COST))["EntryID"] for _ in range(2)]
    nothing = tims.post(f"/gl/entries/{ids[0]}/reverse", {"Reason": None, "PostingDate": "2011-W01-2"})
    assert errors(nothing) == {
        ("/ExternalReference", "MISSING_FIELD"), ("/Source", "MISSING_FIELD"), ("/Reason", "MISSING_FIELD"),
        ("/PostingDate", "INVALID_FORMAT"),
    }  # fmt: skip
    close(tims, "2011-01", "2011-02")
    mirror = tims.made(f"/gl/entries/{ids[0]}/reverse", reversal())
    assert (mirror["PostingDate"], mirror["OriginalEventDate"]) == ("2011-03-01", "2011-01-04")
    requested = tims.post(f"/gl/entries/{ids[1]}/reverse", reversal(PostingDate="2011-02-01"))
    assert errors(requested) == {("/PostingDate", "PERIOD_CLOSED")}
    later = tims.made(f"/gl/entries/{ids[1]}/reverse", reversal(PostingDate="2011-04-02"))
    assert (later["PostingDate"], later["OriginalEventDate"]) == ("2011-04-02", "2011-01-04")


def test_entries_are_found_by_period_account_document_and_reference(tims: Caller) -> None:
    sale = tims.made("/gl/entries", entry(*SALE, ExternalReference="sale:INV-1"))["EntryID"]
    other = {"Type": "Settlement", "ID": "S-9"}
    cost = tims.made("/gl/entries", entry(*COST, PostingDate="2011-02-04", SourceDocument=other))["EntryID"]

    def listed(**query: Any) -> list[str]:
        return [row["EntryID"] for row in tims.get("/gl/entries", **query)["Items"]]

    assert listed() == [sale, cost]
    assert listed(Period="2011-02") == [cost]
    assert listed(AccountCode="4000") == [sale]
    assert listed(SourceDocumentID="S-9") == [cost]
    assert listed(ExternalReference=["sale:INV-1", "none"]) == [sale]
    assert listed(Source="Crossdock", Period="2011-01", AccountCode="1200") == []


# ---- trial balance ----
def test_the_trial_balance_adds_up_one_currency_until_a_day(tims: Caller) -> None:
    tims.made("/gl/entries", entry(*SALE))
    tims.made("/gl/entries", entry(*COST))
    tims.made("/gl/entries", entry(*COST, CurrencyCode="EUR"))
    tims.made("/gl/entries", entry(("1000", "98.00", "0.00"), ("1100", "0.00", "98.00"), PostingDate="2011-02-01"))
    january = tims.get("/gl/trial-balance", AsOf="2011-01-31")
    assert [(each["AccountCode"], each["Debit"], each["Credit"]) for each in january["Lines"]] == [
        ("1100", "98.00", "0.00"), ("1200", "0.00", "44.00"), ("4000", "0.00", "100.00"), ("4010", "0.00", "8.00"),
        ("4100", "10.00", "0.00"), ("5000", "44.00", "0.00"),
    ]  # fmt: skip
    assert (january["TotalDebit"], january["TotalCredit"], january["CurrencyCode"]) == ("152.00", "152.00", "USD")
    later = {each["AccountCode"]: each for each in tims.get("/gl/trial-balance", AsOf="2011-02-01")["Lines"]}
    assert (later["1100"]["Debit"], later["1100"]["Credit"], later["1000"]["Debit"]) == ("0.00", "0.00", "98.00")
    assert tims.get("/gl/trial-balance", AsOf="2011-01-03")["Lines"] == []


def test_the_trial_balance_is_by_itself_of_today_and_of_the_base_currency(tims: Caller) -> None:
    tims.made("/gl/entries", entry(*COST, PostingDate="2011-01-05"))
    assert tims.get("/gl/trial-balance") == {
        "AsOf": "2011-01-04", "CurrencyCode": "USD", "Lines": [], "TotalDebit": "0.00", "TotalCredit": "0.00",
    }  # fmt: skip
    tims.clock("2011-01-06T04:59:00Z")  # in New York still the day before
    tims.renew()
    assert tims.get("/gl/trial-balance")["TotalDebit"] == "44.00"


# ---- stock adjustments ----
def test_an_adjustment_moves_stock_at_the_items_cost(tims: Caller) -> None:
    answer = tims.post("/inventory/adjustments", adjustment(-4))
    made = answer.json()
    assert (answer.status_code, made["UnitCost"], made["PostingMode"], made["Memo"]) == (
        201, "22.0000", "external", None,
    )  # fmt: skip
    assert tims.get(answer.headers["Location"].removeprefix("/api/v1")) == made
    assert on_hand_of(tims, "LAMP") == 6
    assert on_hand_of(tims, "SET") == 4  # a kit follows its parts
    found = tims.made("/inventory/adjustments", adjustment(2, UnitCost="19.50", ReasonCode="Found") | {"Memo": None})
    assert (found["UnitCost"], on_hand_of(tims, "LAMP")) == ("19.50", 8)


def test_an_adjustment_without_a_date_is_of_today_in_the_company_zone(tims: Caller) -> None:
    tims.clock("2011-01-07T02:00:00Z")
    tims.renew()
    body = adjustment(1)
    del body["PostingDate"]
    assert tims.made("/inventory/adjustments", body)["PostingDate"] == "2011-01-06"
    close(tims, "2011-01")
    assert errors(tims.post("/inventory/adjustments", body | {"ExternalReference": "b"})) == {
        ("/PostingDate", "PERIOD_CLOSED")
    }


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("SKU", "SET", "KIT_QUANTITY_COMPUTED"),
        ("SKU", "WRAP", "INVALID_VALUE"),
        ("SKU", "lamp", "UNKNOWN_SKU"),
        ("LocationID", "MOON", "UNKNOWN_REFERENCE"),
        ("QuantityDelta", 0, "INVALID_QUANTITY"),
        ("QuantityDelta", "1", "INVALID_TYPE"),
        ("ReasonCode", "Theft", "INVALID_VALUE"),
        ("UnitCost", "-1.00", "INVALID_AMOUNT"),
        ("PostingDate", "2011-02-30", "INVALID_FORMAT"),
    ],
)
def test_an_adjustment_is_refused_at_its_field(tims: Caller, field: str, value: object, code: str) -> None:
    answer = tims.post("/inventory/adjustments", adjustment(1) | {field: value})
    assert errors(answer) == {(f"/{field}", code)}
    assert on_hand_of(tims, "LAMP") == 10


def test_an_adjustment_is_undone_once_by_its_opposite_at_the_same_cost(tims: Caller) -> None:
    made = tims.made("/inventory/adjustments", adjustment(-4, UnitCost="20.00"))
    path = f"/inventory/adjustments/{made['AdjustmentID']}"
    close(tims, "2011-01")
    undo = tims.made(f"{path}/reverse", reversal())
    wanted = {"QuantityDelta": 4, "UnitCost": "20.00", "ReversalOf": made["AdjustmentID"], "ReasonCode": "Damage"}
    assert {name: undo[name] for name in wanted} == wanted
    assert (undo["PostingDate"], undo["Memo"], on_hand_of(tims, "LAMP")) == ("2011-02-01", "Wrong unit cost", 10)
    assert (tims.get(path)["Status"], tims.get(path)["ReversedBy"]) == ("Reversed", undo["AdjustmentID"])
    assert state(tims.post(f"{path}/reverse", reversal())) == (409, "INVALID_STATE", "Reversed", [])
    again = tims.post(f"/inventory/adjustments/{undo['AdjustmentID']}/reverse", reversal())
    assert state(again) == (409, "INVALID_STATE", "Posted", [])


def test_adjustments_are_found_by_sku_reason_place_and_reference(tims: Caller) -> None:
    lamp = tims.made("/inventory/adjustments", adjustment(1, ExternalReference="A"))["AdjustmentID"]
    body = adjustment(1, SKU="SHADE", LocationID="WEST", ReasonCode="Found", Source="other")
    shade = tims.made("/inventory/adjustments", body)["AdjustmentID"]

    def listed(**query: Any) -> list[str]:
        return [row["AdjustmentID"] for row in tims.get("/inventory/adjustments", **query)["Items"]]

    assert listed() == [lamp, shade]
    assert listed(SKU="LAMP") == listed(ReasonCode="Damage") == listed(ExternalReference="A") == [lamp]
    assert listed(LocationID="WEST") == listed(Source="other") == [shade]


# ---- counts ----
def count(tims: Caller, sku: str, tag: str | None, **body: Any) -> requests.Response:
    body = {"LocationID": "MAIN", "OnHand": 7} | body
    return tims.call("PUT", f"/inventory/items/{sku}/quantity", json=body, headers={"If-Match": tag} if tag else {})


def test_a_count_writes_its_difference_as_an_adjustment_of_tims(tims: Caller) -> None:
    seen = tims.call("GET", "/inventory/items/LAMP/quantity")
    answer = count(tims, "LAMP", seen.headers["ETag"], Memo="Cycle count")
    assert (answer.status_code, answer.headers["ETag"]) == (200, f'"{answer.json()["RowVersion"]}"')
    assert answer.json()["Locations"][0]["OnHand"] == 7
    (made,) = tims.get("/inventory/adjustments", ReasonCode="Count")["Items"]
    assert (made["QuantityDelta"], made["Memo"], made["PostingMode"]) == (-3, "Cycle count", "external")
    assert (made["ExternalReference"], made["Source"]) == (made["AdjustmentID"], "TIMS")
    same = count(tims, "LAMP", answer.headers["ETag"])
    assert same.json()["RowVersion"] == answer.json()["RowVersion"]
    assert len(tims.get("/inventory/adjustments")["Items"]) == 1


def test_a_count_needs_the_version_that_was_counted(tims: Caller) -> None:
    seen = tims.call("GET", "/inventory/items/LAMP/quantity").headers["ETag"]
    assert (answer := count(tims, "LAMP", None)).status_code == 428, answer.text
    tims.made("/inventory/adjustments", adjustment(-1))
    late = count(tims, "LAMP", seen)
    assert (late.status_code, late.json()["code"]) == (412, "STALE_VERSION")


def test_a_count_is_of_items_that_keep_stock_at_known_places_on_an_open_day(tims: Caller) -> None:
    tags = {sku: tims.call("GET", f"/inventory/items/{sku}/quantity").headers["ETag"] for sku in ("LAMP", "SET")}
    assert errors(count(tims, "SET", tags["SET"])) == {("", "KIT_QUANTITY_COMPUTED")}
    assert count(tims, "WRAP", '"1"').json()["code"] == "NOT_STOCKED"
    assert count(tims, "NONE", '"1"').json()["code"] == "NOT_FOUND"
    assert errors(count(tims, "LAMP", tags["LAMP"], LocationID="MOON", OnHand=-1)) == {
        ("/LocationID", "UNKNOWN_REFERENCE"), ("/OnHand", "INVALID_QUANTITY"),
    }  # fmt: skip
    close(tims, "2011-01")
    assert errors(count(tims, "LAMP", tags["LAMP"])) == {("", "PERIOD_CLOSED")}

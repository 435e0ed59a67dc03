"""The company, its chart of accounts and its posting periods, as they are read.

In: calls on /company, /gl/accounts and /gl/periods. Out: the chart of the contract, months that take postings.
Never: a posting; entries are no part of this server yet.
"""

from __future__ import annotations

import calendar
from typing import Any

from sandbox.kernel.clock import parse
from sandbox.kernel.contract import Contract
from sandbox.kernel.http import Answer
from sandbox.kernel.store import Transaction
from sandbox.tims.call import Call

_YEARS = range(2009, 2031)
_SET_UP = "2009-01-01T05:00:00Z"
COMPANY = {
    "CompanyName": "Lantern Goods Inc.",
    "TimeZone": "America/New_York",
    "BaseCurrency": "USD",
    "FiscalYearStart": "01-01",
}
LOCATIONS = ("MAIN", "WEST")


def period_terms(doc: dict[str, Any]) -> list[tuple[str, Any]]:
    return [("Status", doc["Status"]), ("Period", doc["Period"])]


def get_company(call: Call) -> Answer:
    row = call.tx.get("company", "company")
    return Answer(200, row.doc if row else COMPANY)


def list_accounts(call: Call) -> Answer:
    return call.page("account", {})


def list_periods(call: Call) -> Answer:
    where = call.where("Status")
    if "Date" in call.request.query:
        where["Period"] = [call.request.query["Date"][:7]]
    return call.page("period", where)


def time_zone(tx: Transaction) -> str:
    row = tx.get("company", "company")
    return row.doc["TimeZone"] if row else COMPANY["TimeZone"]


def next_open_date(tx: Transaction, day: str) -> str | None:
    """The first day from `day` on that takes postings; None when no period that is set up does."""
    own = tx.get("period", day[:7])
    if own is not None and own.doc["Status"] == "Open":
        return day
    later = (row.doc["StartDate"] for row in tx.rows("period", Status="Open") if row.doc["StartDate"] > day)
    return min(later, default=None)


def set_up(tx: Transaction, contract: Contract) -> None:
    """What a new TIMS has: a company, the contract's chart, open months, two locations."""
    tx.put("company", "company", COMPANY, modified=parse(_SET_UP))
    for location in LOCATIONS:
        tx.put("location", location, {"LocationID": location}, modified=parse(_SET_UP))
    page = contract.resolve({"$ref": "#/components/responses/AccountList"})["content"]["application/json"]
    for account in page["examples"]["Chart"]["value"]["Items"]:
        tx.put("account", account["AccountCode"], account, modified=parse(account["ModifiedAt"]))
    for year in _YEARS:
        for month in range(1, 13):
            put_period(tx, f"{year}-{month:02d}", "Open", parse(_SET_UP), _SET_UP)


def put_period(tx: Transaction, key: str, status: str, at: int, text: str) -> None:
    days = calendar.monthrange(int(key[:4]), int(key[5:7]))[1]
    doc = {"Period": key, "StartDate": f"{key}-01", "EndDate": f"{key}-{days}", "Status": status, "ModifiedAt": text}
    tx.put("period", key, doc, modified=at)

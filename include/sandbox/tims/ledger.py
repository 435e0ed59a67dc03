"""The company, its chart of accounts and its posting periods, as they are read.

In: calls on /company, /gl/accounts and /gl/periods; dates of documents. Out: the chart of the contract, months that
take postings, the first open day. Never: a posting; entries have a module of their own.
"""

from __future__ import annotations

import calendar
from datetime import date
from typing import Any

from sandbox.kernel import clock
from sandbox.kernel.clock import parse
from sandbox.kernel.contract import Contract
from sandbox.kernel.http import Answer
from sandbox.kernel.store import Transaction
from sandbox.tims.call import Call
from sandbox.tims.problems import Errors

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
    """The first day from `day` on that takes postings; None when no existing period does."""
    own = tx.get("period", day[:7])
    if own is not None and own.doc["Status"] == "Open":
        return day
    later = (row.doc["StartDate"] for row in tx.rows("period", Status="Open") if row.doc["StartDate"] > day)
    return min(later, default=None)


def today(tx: Transaction, now: int) -> str:
    """The day in the company's time zone."""
    return clock.date_in(now, time_zone(tx)).isoformat()


def is_day(value: Any) -> bool:
    """Whether a value is a date of the calendar, as `Date` of the contract."""
    try:
        return isinstance(value, str) and date.fromisoformat(value).isoformat() == value
    except ValueError:
        return False


def check_open(tx: Transaction, errors: Errors, pointer: str, day: Any) -> None:
    """Adds an error unless the day takes postings. A value that is not a date has its own error."""
    if not is_day(day):
        return
    opens = next_open_date(tx, day)
    if opens != day:
        text = f"It is dated {day}; the first open day is {opens}."
        errors.add(pointer, "PERIOD_CLOSED", text, **({"NextOpenDate": opens} if opens else {}))


def check_account(tx: Transaction, errors: Errors, pointer: str, code: Any) -> None:
    """Adds an error unless the account exists and takes entries."""
    if not isinstance(code, str) or not code:
        return
    row = tx.get("account", code)
    if row is None:
        errors.add(pointer, "UNKNOWN_ACCOUNT", f"There is no account {code[:20]}.")
    elif row.doc["Blocked"]:
        errors.add(pointer, "ACCOUNT_BLOCKED", f"The account {code} is blocked.")


def base_currency(tx: Transaction) -> str:
    row = tx.get("company", "company")
    return row.doc["BaseCurrency"] if row else COMPANY["BaseCurrency"]


def set_up(tx: Transaction, contract: Contract) -> None:
    """Sets up a new TIMS: a company, the contract's chart, open months, two locations."""
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

"""Pages as HTML: templates, how values are written, the frame around every page.

In: a template and what it shows. Out: an HTML answer, every value escaped. Never: a style or a script within the page.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

from crossdock.rules import currencies
from crossdock.safe import safe
from crossdock.services import remarks
from crossdock.services.wording import in_words

FOLDER = Path(__file__).parent


@cache
def templates() -> Environment:
    made = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "when": when, "money": money, "count": count, "words": in_words, "shown": shown, "path": path, "query": query,
        "place": place, "figure": figure,
        "span": span, "groupby_first": groupby_first,
    }  # fmt: skip
    made.globals |= {"static": static_address, "longest_remark": remarks.LONGEST}
    return made


def render(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """A page for the person of the request. Paths in it begin at `root`."""
    from console import access, database

    person = request.state.person
    root = str(request.scope.get("root_path", "")).rstrip("/")
    text = templates().get_template(template).render(
        person=person, may=person.may, root=root, token=access.token(person), menu=request.app.state.menu,
        here=request.url.path.removeprefix(root), request=request, shadow=database.shadow, **values,
    )  # fmt: skip
    return HTMLResponse(text, status)


def refusal(request: Request, status: int, message: str, do: str) -> HTMLResponse:
    """A page, or the part that htmx asked for, that says what went wrong and what to do."""
    template = "refusal_part.html" if request.headers.get("hx-request") else "refusal.html"
    return render(request, template, status=status, title="Crossdock", message=message, do=do)


def bare(status: int, root: str, message: str) -> HTMLResponse:
    """A page for whoever that is: without the menu, and nothing of a person."""
    return HTMLResponse(templates().get_template("refusal_bare.html").render(root=root, message=message), status)


def when(moment: datetime | str | None) -> Markup:
    """A moment: in UTC, which the page's script turns into the reader's own zone."""
    if moment is None:
        return Markup("")
    at = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    at = at.replace(tzinfo=at.tzinfo or UTC).astimezone(UTC)
    return Markup('<time datetime="{}" title="{} UTC">{} UTC</time>').format(
        at.isoformat(), f"{at:%Y-%m-%d %H:%M:%S}", f"{at:%d %b %Y %H:%M}"
    )


def money(amount: Decimal | str | None, currency: str | None = "") -> Markup:
    """An amount with its currency, aligned right by the page's style."""
    if amount is None:
        return Markup("")
    value = Decimal(amount)
    least = currencies.places(currency)
    places = max(least, -int(value.normalize().as_tuple().exponent)) if value else least
    return Markup('<span class="amount">{:,.{places}f}<span class="currency">{}</span></span>').format(
        value, f" {currency}" if currency else "", places=places
    )


def figure(text: str) -> Markup | str:
    """Foreign text; a number in it as amounts are written."""
    try:
        number = Decimal(text.replace(",", ""))
    except ArithmeticError:
        return shown(text)
    return money(number) if "." in text else f"{number:,f}"


def count(number: int | float | None) -> str:
    return "" if number is None else f"{number:,}"


def span(seconds: float | None) -> str:
    """A span of time for people."""
    if seconds is None:
        return ""
    for size, unit in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def groupby_first(values: Iterable[Any], name: str) -> list[tuple[Any, list[Any]]]:
    """Values by one of their attributes, in the order in which it comes up."""
    found: dict[Any, list[Any]] = {}
    for value in values:
        found.setdefault(getattr(value, name), []).append(value)
    return list(found.items())


def shown(value: Any) -> str:
    """Foreign text without characters that turn or hide what stands beside them."""
    return "" if value is None else safe(str(value))


def path(text: Any) -> str:
    """A foreign key as one part of an address."""
    return quote(str(text), safe="")


def query(values: Iterable[tuple[str, Any]] | dict[str, Any]) -> str:
    """Values as the query of an address, without those that are missing."""
    pairs = values.items() if isinstance(values, dict) else values
    return urlencode([(name, str(value)) for name, value in pairs if value is not None])


def place(text: Any) -> str:
    """The id of an element that is about this, for a part that is to take its place."""
    return "p" + hashlib.sha256(str(text).encode()).hexdigest()[:16]


@cache
def static_address(root: str, name: str) -> str:
    """The address of a file of ours, which changes with what is in it."""
    version = hashlib.sha256((FOLDER / "static" / name).read_bytes()).hexdigest()[:12]
    return str(escape(f"{root}/static/{name}?{version}"))

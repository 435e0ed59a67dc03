"""A run as one page that needs nothing else: tables and plots, to be opened in a browser or in Airflow.

In: what runs have found. Out: HTML with its plots inside, everything escaped. Never: personal data (there is none in
the differences), a script, a request to any server.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import jinja2
import sqlalchemy as sa
from markupsafe import Markup, escape

from crossdock.comparison.subject import BY_RULE, CAUSES, CHANGED, DEAD, IN_FLIGHT, MEANING, UNEXPLAINED, WAITING
from crossdock.errors import ConfigError
from crossdock.watch.reconcile import results
from crossdock.watch.reconcile.subjects import SUBJECTS

SHOWN = 100  # differences of one subject on the page; the table has all
RUNS = 14  # that the page lists
COLOURS = {
    UNEXPLAINED: "#c0352b", DEAD: "#dd7a1f", WAITING: "#d9b036", IN_FLIGHT: "#3f7fb5", CHANGED: "#6fb3a8",
    BY_RULE: "#a9b0b8",
}  # fmt: skip
EQUAL, INK, FAINT = "#3d8f5f", "#2b3440", "#d7dce2"
AGES = ((1, "under a day"), (3, "1-2 days"), (7, "3-6 days"), (30, "7-29 days"), (float("inf"), "30 days and more"))
LETTERS = "DejaVu Sans, Segoe UI, Helvetica, Arial, sans-serif"


def page(connection: sa.Connection, number: int) -> str:
    """The report of a run. Raises ConfigError where there is no such run."""
    run = results.run(connection, number)
    if run is None:
        raise ConfigError(f"There is no reconciliation {number}.", do="`crossdock reconcile` makes one.")
    found = results.differences(connection, number, limit=SHOWN)
    alike = results.runs(connection, until=number, subjects=run["counts"])[::-1]
    return _template().render(
        run=run,
        accuracy=accuracy(run["counts"]),
        subjects=SUBJECTS,
        causes=CAUSES,
        meaning=MEANING,
        colours=COLOURS,
        differences={name: [one for one in found if one["subject"] == name] for name in run["counts"]},
        totals={cause: sum(each["causes"].get(cause, 0) for each in run["counts"].values()) for cause in CAUSES},
        past=results.runs(connection, until=number, limit=RUNS),
        shown=SHOWN,
        plots=plots(run["counts"], alike, results.ages(connection, number)),
    )


def accuracy(counts: Mapping[str, Mapping[str, Any]]) -> float | None:
    """The share of keys that are equal or differ by rule; None where nothing was compared."""
    compared = sum(each["compared"] for each in counts.values())
    right = sum(each["equal"] + each["causes"].get(BY_RULE, 0) for each in counts.values())
    return right / compared if compared else None


def words(span: timedelta) -> str:
    """An age in words."""
    minutes = int(span.total_seconds() // 60)
    if minutes < 1:
        return "new"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h" if minutes < 2880 else f"{minutes // 1440} days"


def percent(share: float | None) -> str:
    """The share in percent, with the places that keep 99.99 % apart from 100 %; not rounded up to 100 %."""
    if share is None:
        return "-"
    return "100 %" if share == 1 else f"{int(share * 100_000) / 1000:.3f} %"


def commands(text: str) -> Markup:
    """The text as HTML, with what stands between backticks as code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "age": words, "percent": percent, "number": lambda n: f"{n:,}", "commands": commands,
    }  # fmt: skip
    return environment.get_template("report.html.j2")


# ---- plots -----------------------------------------------------------------------------------------------------------


def plots(
    counts: Mapping[str, Mapping[str, Any]], past: Sequence[Mapping[str, Any]], ages: Sequence[tuple[str, float]]
) -> dict[str, str]:
    """The plots by name, as SVG: differences by cause, their history, their age."""
    return {
        "differences": _svg("differences", 9.2, 0.42 * len(counts) + 1.1, lambda axes: _bars(axes, counts)),
        "history": _svg("history", 9.2, 2.9, lambda axes: _history(axes, past)),
        "ages": _svg("ages", 9.2, 2.5, lambda axes: _ages(axes, ages)),
    }


def _svg(name: str, width: float, height: float, draw: Callable[[Any], None]) -> str:
    """A figure as an <svg> element. Drawn without pyplot, which keeps figures and is for one thread."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style: Any = {
        "svg.fonttype": "none", "svg.hashsalt": name, "font.size": 10, "font.family": "sans-serif",
        "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": FAINT, "xtick.color": INK, "ytick.color": INK,
    }  # fmt: skip
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
        draw(axes)
        buffer = io.StringIO()
        figure.savefig(
            buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
        )
    return _element(buffer.getvalue(), name)


def _element(text: str, name: str) -> str:
    """The <svg> element alone: without the XML head and its address, with ids of its own, as wide as its place."""
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\1{name}-", text[text.index("<svg") :])


def _bars(axes: Any, counts: Mapping[str, Mapping[str, Any]]) -> None:
    """Keys that differ, by cause, one bar a subject."""
    names = list(counts)[::-1]
    titles = [SUBJECTS[name].title for name in names]
    left = [0] * len(names)
    for cause in CAUSES:
        values = [counts[name]["causes"].get(cause, 0) for name in names]
        if any(values):
            axes.barh(titles, values, left=left, color=COLOURS[cause], label=cause, height=0.62)
            left = [before + more for before, more in zip(left, values, strict=True)]
    most = max([*left, 1])
    for place, total in enumerate(left):
        axes.text(total + most * 0.01, place, f"{total:,}" if total else "0", va="center", fontsize=9, color=INK)
    axes.set_yticks(range(len(titles)), titles)
    axes.set_xlim(0, most * 1.08)
    axes.xaxis.grid(True, color=FAINT)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("keys that differ")
    if any(left):
        axes.legend(frameon=False, ncols=6, loc="lower left", bbox_to_anchor=(0, 1), fontsize=9, handlelength=1)


def _history(axes: Any, past: Sequence[Mapping[str, Any]]) -> None:
    """Each run's unexplained keys and its accuracy, oldest first."""
    places = range(len(past))
    axes.bar(places, [run["unexplained"] for run in past], color=COLOURS[UNEXPLAINED], width=0.55, label=UNEXPLAINED)
    axes.set_ylabel("unexplained")
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.set_ylim(0, max([1, *(run["unexplained"] for run in past)]) * 1.15)
    step = max(1, len(past) // 10)
    axes.set_xticks(list(places)[::step], [f"{run['started_at']:%d %b\n%H:%M}" for run in past][::step], fontsize=8)
    axes.set_xlim(-0.8, max(len(past), 8) - 0.2)
    right = axes.twinx()
    right.spines[["top", "left"]].set_visible(False)
    shares = [(accuracy(run["counts"]) or 0) * 100 for run in past]
    right.plot(places, shares, color=EQUAL, marker="o", markersize=4, linewidth=1.6)
    right.set_ylabel("equal, or meant to differ, %", color=EQUAL)
    low = min([99.0, *shares])
    right.set_ylim(low - (100 - low) * 0.15, 100 + (100 - low) * 0.08)
    right.get_yaxis().get_major_formatter().set_useOffset(False)


def _ages(axes: Any, ages: Sequence[tuple[str, float]]) -> None:
    """Keys that differ, not by rule, by age."""
    labels = [label for _, label in AGES]
    bottom = [0] * len(AGES)
    for cause in CAUSES:
        values = [0] * len(AGES)
        for each, days in ages:
            if each == cause:
                values[next(n for n, (limit, _) in enumerate(AGES) if days < limit)] += 1
        if any(values):
            axes.bar(labels, values, bottom=bottom, color=COLOURS[cause], width=0.5)
            bottom = [before + more for before, more in zip(bottom, values, strict=True)]
    axes.set_xticks(range(len(labels)), labels)
    axes.set_ylim(0, max([*bottom, 1]) * 1.2)
    axes.yaxis.grid(True, color=FAINT)
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.set_ylabel("keys that differ")
    for place, total in enumerate(bottom):
        if total:
            axes.text(place, total, f"{total:,}", ha="center", va="bottom", fontsize=9)

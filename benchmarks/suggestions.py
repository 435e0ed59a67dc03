"""How often suggestions are right, and how fast: `python -m benchmarks.suggestions DATABASE [--seed N] [--lines]`.

In: a database in which all flows have worked some days of the sandbox. Out: a line of JSON. Never: a word of the hidden
mapping within reach of what is measured.

One shipped mapping at a time is hidden, and each of its lines asked for. What names teach, the other mappings teach.
The database has what both systems hold, as it has for whoever maps a new field. Right is what the hidden line says;
where a rule fills it, the rule or a source field that it carries on (carried.yaml). Lines that a rule computes have no
right source field: they count in what is right above 0.9, and not in top-1 and top-3, unless rules are offered.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa
import yaml

from crossdock.mapping import language
from crossdock.mapping.registry import NamedRule, named_rules
from crossdock.mapping.suggest.ranking import CERTAIN, Question, Suggestion, suggest
from crossdock.mapping.suggest.sample import Sample
from crossdock.mapping.suggest.words import vocabulary
from crossdock.mapping.table import FieldMap, Table
from crossdock.services import both_sides, people, suggestions
from crossdock.store import database
from crossdock.store.tables import ops_link, raw_orders

ANYBODY = people.on_this_machine("bench")
CARRIED = Path(__file__).with_name("carried.yaml")
# Of each way to ask: whether names and values are looked at, and rules offered.
VARIANTS = {
    "whole": (True, True, False),
    "with_rules": (True, True, True),
    "values_alone": (False, True, False),
    "names_alone": (True, False, False),
}


@dataclass
class Tally:
    questions: int = 0
    first: int = 0
    three: int = 0
    certain: int = 0
    certain_right: int = 0
    wrong: list[str] = field(default_factory=list)

    def numbers(self) -> dict[str, float]:
        return {
            "lines": self.questions,
            "top1": self.first / max(1, self.questions),
            "top3": self.three / max(1, self.questions),
            "certain": self.certain,
            "right": self.certain_right / self.certain if self.certain else 1.0,
        }


def lines(mapping: Table) -> Iterator[tuple[FieldMap, str]]:
    """The lines of a mapping, each with the list that it is in."""
    yield from ((one, "") for one in mapping.fields)
    if mapping.children:
        yield from ((one, mapping.children.target) for one in mapping.children.fields)


def accepted(mapping: Table, one: FieldMap, inside: str, carried: dict) -> tuple[str, ...]:
    """The source fields that are right for a line."""
    if one.constant is not None:
        return ()
    if one.rule:
        return tuple(carried[mapping.name][f"{inside}.{one.target}" if inside else one.target])
    return one.sources


def is_right(made: Suggestion, mapping: Table, one: FieldMap, inside: str, sources: tuple[str, ...]) -> bool:
    if one.constant is not None:
        return made.constant == one.constant
    if made.rule:
        return made.rule == one.rule
    if made.constant is not None or made.source not in sources:
        return False
    return not made.children or mapping.children is None or made.children == mapping.children.source


def measure(
    samples: dict[str, Sample], mappings: dict[str, Table], variant: str, carried: dict
) -> tuple[Tally, dict[str, Tally]]:
    by_name, by_value, with_rules = VARIANTS[variant]
    whole, each = Tally(), {name: Tally() for name in mappings}
    rules: tuple[NamedRule, ...] = tuple(named_rules().values()) if with_rules else ()
    tables = suggestions.lookup_tables()
    for name, mapping in mappings.items():
        sample = samples[name]
        words = vocabulary(
            sample.source_document, sample.target_document, [other for key, other in mappings.items() if key != name]
        )
        for one, inside in lines(mapping):
            sources = accepted(mapping, one, inside, carried)
            question = Question(one.target, inside, zones=suggestions.ZONES, by_name=by_name, by_value=by_value)
            made = suggest(question, sample, words, tables, rules)
            right = [is_right(each_, mapping, one, inside, sources) for each_ in made]
            answerable = bool(sources) or one.constant is not None or with_rules
            for tally in (whole, each[name]):
                if answerable:
                    tally.questions += 1
                    tally.first += bool(right[:1] and right[0])
                    tally.three += any(right[:3])
                    if not (right and right[0]):
                        tally.wrong.append(f"{name}: {inside}{'.' * bool(inside)}{one.target}")
                for each_, fine in zip(made, right, strict=True):
                    if each_.confidence > CERTAIN:
                        tally.certain += 1
                        tally.certain_right += fine
                        if not fine:
                            tally.wrong.append(f"{name}: {one.target} <- {each_.source or each_.constant}, certain")
    return whole, each


def seconds(engine: sa.Engine, mappings: dict[str, Table]) -> list[float]:
    """What each field of the largest mapping takes, its records fetched anew each time."""
    mapping = mappings["sales_order"]
    taken = []
    for one, inside in lines(mapping):
        with engine.connect() as connection:
            begun = time.perf_counter()
            suggestions.for_field(connection, ANYBODY, mapping.name, one.target, inside, although_mapped=True)
            taken.append(time.perf_counter() - begun)
    return taken


def seed(engine: sa.Engine, count: int) -> None:
    """Adds so many older orders, and links of theirs, as years leave behind."""
    number = sa.func.generate_series(1, count).column_valued("number")
    key = sa.literal("seeded-", sa.Text) + sa.cast(number, sa.Text)
    long_ago = sa.func.now() - timedelta(days=7_300)
    payload = sa.func.jsonb_build_object(sa.literal("ChannelAdvisorOrderID", sa.Text), number)
    raw = sa.select(key, long_ago, sa.func.md5(key), payload, long_ago)
    links = sa.select(sa.literal("sales_order", sa.Text), key, sa.literal("SO-", sa.Text) + key, long_ago, long_ago)
    with engine.begin() as connection:
        connection.execute(
            sa.insert(raw_orders).from_select(["key", "version", "hash", "payload", "received_at"], raw)
        )  # fmt: skip
        connection.execute(
            sa.insert(ops_link).from_select(["entity", "source_key", "target_id", "created_at", "updated_at"], links)
        )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE raw.channel_advisor_orders")
        connection.exec_driver_sql("ANALYZE ops.link")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("database")
    parser.add_argument("--lines", action="store_true", help="also name the lines that were not right")
    parser.add_argument("--seed", type=int, default=0, help="also measure speed, beside so many older records")
    options = parser.parse_args()
    engine = database.engine(options.database, role=None)
    mappings: dict[str, Table] = {name: language.load(name) for name in language.names()}
    carried = yaml.safe_load(CARRIED.read_text())
    with engine.connect() as connection:
        samples = {name: both_sides.sample(connection, one.source, one.target) for name, one in mappings.items()}
    found: dict[str, float] = {"records": sum(map(len, samples.values()))}
    for variant in VARIANTS:
        whole, each = measure(samples, mappings, variant, carried)
        found |= {f"{variant}.{key}": value for key, value in whole.numbers().items()}
        if options.lines:
            print(variant, whole.numbers())
            for name, tally in each.items():
                print("   ", name, len(samples[name]), tally.numbers())
            print("\n".join(f"      not right: {line}" for line in whole.wrong))
    if options.seed:
        seed(engine, options.seed)
        taken = seconds(engine, mappings)
        found |= {"median": statistics.median(taken), "p95": statistics.quantiles(taken, n=20)[-1]}
    print(json.dumps(found))


if __name__ == "__main__":
    main()

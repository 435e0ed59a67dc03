"""Rules are run by the table that names them, in the order of what they read and write, and see nothing else."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

import rules_examples
from crossdock.errors import ConfigError
from crossdock.mapping import describe, language, lookups, problems, registry
from crossdock.mapping.frames import LINE, ROW, Frames
from crossdock.mapping.parse import read_documents
from crossdock.mapping.plan import Plan, in_order
from crossdock.mapping.registry import Columns, NamedRule, named_rules, rule
from crossdock.rules import accounts, catalogue, movements, offer_settings, price_settings, settings, tolerances
from crossdock.rules.catalogue import ProductContext
from crossdock.rules.invoicing import InvoiceContext
from crossdock.rules.movements import MovementContext
from crossdock.rules.offers import Centers, StockContext
from crossdock.rules.order_context import OrderContext
from crossdock.rules.pricing import Clock, PriceContext
from crossdock.rules.reference_data import ReferenceData
from crossdock.rules.returns import ReturnContext
from crossdock.rules.settlements import PaymentContext
from crossdock.rules.shipping import ShipmentContext
from crossdock.settings import config_dir

FOUND = ["sales_order_id", "expected", "why", "elsewhere", "several", "open_units", "near"]
DOCUMENTS = ["kind", "id", "sales_order_id", "currency", "balance", "beyond"]
PERIODS = pd.DataFrame({"id": ["2011-01"], "start_date": ["2011-01-01"], "status": ["Open"]})


def named(
    name: str, reads: str = "", writes: str = "", function: Callable[..., Any] = lambda *_: Columns()
) -> NamedRule:
    return NamedRule(name, tuple(reads.split()), tuple(writes.split()), "", __name__, function)


def names(plan: Plan) -> list[str]:
    return [one.name for one in plan.rules]


def frames(**header: list[Any]) -> Frames:
    return Frames(pd.DataFrame(header), pd.DataFrame({ROW: [0], LINE: [0], "SKU": ["A"]}))


# ---- the order -----------------------------------------------------------------------------------------------------


def test_a_rule_comes_after_those_whose_columns_it_reads_and_the_rest_stays_as_named():
    rules = [named("last", "b", "c"), named("free", "", "x"), named("middle", "a", "b"), named("first", "", "a")]
    assert names(in_order(rules)) == ["free", "first", "middle", "last"]


def test_who_replaces_a_column_comes_after_who_makes_it_and_before_all_others_that_read_it():
    rules = [named("reader", "a", "b"), named("replacer", "a", "a"), named("maker", "", "a")]
    assert names(in_order(rules)) == ["maker", "replacer", "reader"]


def test_who_writes_everything_comes_first():
    assert names(in_order([named("reader", "a", "b"), named("cleaner", "*", "*")])) == ["cleaner", "reader"]


def test_who_asks_what_is_refused_comes_after_all_that_do_without_it():
    rules = [
        named("asks", "refused", "who"),
        named("needs", "who", "y"),
        named("judges", "a", "b"),
        named("z", "b", "c"),
    ]
    assert names(in_order(rules)) == ["judges", "z", "asks", "needs"]


def test_rules_that_wait_for_one_another_are_a_circle():
    plan = in_order([named("a", "y", "x"), named("b", "x", "y"), named("c", "", "z"), named("d", "y", "w")])
    assert sorted(one.name for one in plan.circle) == ["a", "b"]


# ---- what a rule sees and writes -----------------------------------------------------------------------------------


def test_a_rule_sees_the_columns_that_it_declares_and_no_other():
    seen: list[Frames] = []
    plan = in_order([named("looks", "A lines.SKU", "B", lambda frames, _: seen.append(frames) or made("B"))])
    plan.run(frames(A=[1], Other=[2]), None)
    assert (list(seen[0].header), list(seen[0].lines)) == (["A"], [ROW, LINE, "SKU"])


def made(*columns: str) -> Columns:
    return Columns(pd.DataFrame({name: [1] for name in columns}))


@pytest.mark.parametrize("written", [("B", "C"), ()])
def test_a_rule_that_writes_other_columns_than_it_declares_is_told(written: tuple[str, ...]):
    with pytest.raises(ConfigError, match="The rule odd declares other columns than it writes"):
        in_order([named("odd", "A", "B", lambda *_: made(*written))]).run(frames(A=[1]), None)


def test_a_column_that_is_not_there_is_told_with_its_rule():
    with pytest.raises(ConfigError, match="The rule needs needs the column 'B'"):
        in_order([named("needs", "B", "C")]).run(frames(A=[1]), None)


def test_a_rule_knows_what_is_refused_so_far():
    def asks(given: Frames, _: object) -> Columns:
        return Columns(pd.DataFrame({"who": given.header["refused"]}))

    def judges(given: Frames, _: object) -> Columns:
        return Columns(problems=problems.make([1], field="A", rule="bad", message="bad", do="mend it"))

    ran = in_order([named("asks", "refused", "who", asks), named("judges", "A", "", judges)]).run(
        frames(A=[1, 2]), None
    )
    assert ran.frames.header["who"].tolist() == [False, True]


def test_of_one_record_several_documents_may_come_and_findings_name_the_record():
    def parts(given: Frames, _: object) -> Columns:
        return Columns(pd.DataFrame({"part": [1, 2, 3]}), origin=np.array([0, 0, 1]))

    def judges(given: Frames, _: object) -> Columns:
        return Columns(problems=problems.make([2], field="part", rule="bad", message="bad", do="mend it"))

    ran = in_order([named("parts", "A", "part", parts), named("judges", "part", "", judges)]).run(
        frames(A=[1, 2]), None
    )
    assert ran.frames.header[["A", "part"]].to_numpy().tolist() == [[1, 1], [1, 2], [2, 3]]
    assert ran.problems[ROW].tolist() == [1]
    assert ran.of_documents(problems.make([0], field="A", rule="x", message="x", do="x"))[ROW].tolist() == [0, 1]


# ---- every rule of every shipped mapping ---------------------------------------------------------------------------


def contexts() -> dict[str, Any]:
    """A context of each flow in which nothing is known."""
    shipped, reference = settings.load(), ReferenceData()
    refunds = tolerances.load()
    nothing = {name: pd.Series(dtype="int64") for name in ("balance", "beyond")}
    documents = pd.DataFrame({name: pd.Series(dtype="str") for name in DOCUMENTS} | nothing)
    prices = price_settings.load()
    status, payment = lookups.read("order_status"), lookups.read("payment_status")
    return {
        "sales_order": OrderContext(reference, shipped, status, payment),
        "stock_adjustment": MovementContext(reference, shipped, "UTC", PERIODS, movements.read_reasons()),
        "inventory": StockContext(offer_settings.load(), Centers((0,), {}), {}, {}, {}, {}, {}, {}),
        "product": ProductContext(
            catalogue.load(), {}, frozenset(), frozenset(), catalogue.read_categories(), {}
        ),
        "invoice": InvoiceContext({}, [], [], {}, (), PERIODS, "Crossdock", "ChannelAdvisor"),
        "shipment": ShipmentContext({}, (), (), lookups.read("carriers", keys=2), {}, {}, "ChannelAdvisor"),
        "payment": PaymentContext(
            pd.DataFrame({name: pd.Series(dtype="str") for name in FOUND}), documents, refunds.settlements, "UTC",
            "GBP", PERIODS, accounts.load(), lookups.read("exchange_rates", keys=2),
        ),
        "price": PriceContext(prices, Clock(datetime(2011, 1, 1, tzinfo=UTC), ZoneInfo("UTC"), "GBP"), {}, ()),
        "credit_memo": ReturnContext({}, {}, {}, (), refunds.refunds, "UTC", PERIODS),
    }  # fmt: skip


def with_rules() -> list[str]:
    """The shipped mappings that have rules; a flow may do without."""
    tables = map(language.load, language.names())
    return [table.name for table in tables if not table.after and table.plan.rules]


@pytest.mark.parametrize("name", with_rules())
def test_each_rule_of_a_shipped_mapping_reads_and_writes_what_it_declares(name: str):
    """Plans show a rule what it declares and hold it to what it writes."""
    table = language.load(name)
    lines = table.children.source if table.children else ""
    parsed = read_documents([], *table.source, lines=lines)
    header = parsed.frames.header.assign(key=pd.Series(dtype="str"))
    ran = table.apply(Frames(header, parsed.frames.lines), contexts()[name])
    written = {column for one in table.plan.rules for column in one.writes if "." not in column and column != "*"}
    assert written <= set(ran.source.header)


def without(given: Frames, column: str) -> Frames:
    header, lines, made = given.header, given.lines, given.made
    if column.startswith("lines."):
        return Frames(header, lines.drop(columns=column.removeprefix("lines.")), made)
    if column.startswith("made.") and made is not None:
        return Frames(header, lines, made.drop(columns=column.removeprefix("made.")))
    return Frames(header.drop(columns=column), lines, made)


def test_a_rule_of_orders_declares_no_column_that_it_does_not_read():
    """So the page says no more than is true: without any of its columns a rule fails."""
    unused: list[str] = []

    def spied(one: NamedRule) -> NamedRule:
        def spy(given: Frames, context: Any) -> Columns:
            for column in one.reads if one.name != "clean_text" else ():
                with contextlib.suppress(KeyError):
                    one.function(without(given, column), context)
                    unused.append(f"{one.name}: {column}")
            return one.function(given, context)

        return dataclasses.replace(one, function=spy)

    orders = rules_examples.frames(rules_examples.order(), rules_examples.order(2, OrderStatus="Shipped"))
    context = dataclasses.replace(contexts()["sales_order"], reference=rules_examples.reference_data())
    Plan(tuple(map(spied, language.load("sales_order").plan.rules))).run(orders, context)
    assert unused == []


# ---- what the check finds ------------------------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A copy of the shipped configuration, to be broken."""
    for room in ("mappings", "lookups"):
        shutil.copytree(config_dir() / room, tmp_path / room)
    return tmp_path


def change(config: Path, old: str, new: str, name: str = "sales_order") -> int:
    """Replaces the first `old`; the line on which it stood."""
    path = config / "mappings" / f"{name}.yaml"
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")
    return text[: text.index(old)].count("\n") + 1


def findings(config: Path, name: str = "sales_order") -> list[str]:
    table = language.read(config / "mappings" / f"{name}.yaml")
    return [str(one).removeprefix(f"{one.file}:") for one in table.check()]


def test_a_rule_whose_input_nobody_makes_is_told_with_the_rule_that_would(config: Path):
    change(config, "  - decide_item_codes\n", "")
    listed = findings(config)
    want = "the rule explode_kits reads 'lines.item', which nobody makes; the rule decide_item_codes does"
    want += ": add it to `rules`"
    assert any(want in one for one in listed)
    line = (config / "mappings/sales_order.yaml").read_text().split("rule: explode_kits")[0].count("\n") + 1
    assert f"{line}: {want}" in listed


def test_a_rule_that_there_is_not_is_told_with_the_nearest(config: Path):
    line = change(config, "  - order_state\n", "  - order_stat\n")
    assert f"{line}: there is no rule 'order_stat'; did you mean 'order_state'?" in findings(config)


def test_rules_of_two_flows_are_told(config: Path):
    line = change(config, "  - order_state\n", "  - offer_state\n  - order_state\n")
    listed = [one for one in findings(config) if one.startswith(f"{line}: rules of two flows") or "two flows" in one]
    assert len(listed) == 1
    assert "offer_state (StockContext)" in listed[0]


def test_two_rules_that_write_the_same_column_are_told(config: Path):
    change(config, "  - shipment_news\n", "  - shipment_news\n  - movement_state\n", "shipment")
    assert any("both write 'state'; name one of them" in one for one in findings(config, "shipment"))


def test_a_row_whose_rule_does_not_write_what_it_takes_is_told(config: Path):
    line = change(config, "    from: Currency\n", "    from: Currency\n    rule: order_document\n") + 1
    want = "the rule order_document does not write 'Currency', which is the source's own; leave `rule` out"
    assert any(one.startswith(f"{line}: {want}") for one in findings(config))


def test_a_circle_is_told_with_both_rules_and_where_they_stand(config: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(registry, "_RULES", dict(named_rules()))

    @rule("chicken", reads=["egg"], writes=["chicken"])
    def chicken(frames: Frames, context: object) -> Columns:
        """Comes of an egg."""
        raise AssertionError

    @rule("egg", reads=["chicken"], writes=["egg"])
    def egg(frames: Frames, context: object) -> Columns:
        """Comes of a chicken."""
        raise AssertionError

    line = change(config, "  - order_state\n", "  - chicken\n  - egg\n  - order_state\n") + 1
    (listed,) = [one for one in findings(config) if "wait for one another" in one]
    assert listed.startswith(f"{line}: ")
    for one in (chicken, egg):
        assert f"{one.__name__} (test_mapping_rules.py:{one.__code__.co_firstlineno})" in listed


def test_a_rule_that_no_table_names_is_told_with_its_place(config: Path):
    change(config, "  - return_state\n", "", "credit_memo")
    listed = language.idle_rules(config / "mappings")
    assert [one.message for one in listed] == ["no mapping names the rule 'return_state'; it never runs"]
    assert listed[0].file.name == "returns.py"
    assert "return_state" in "".join(listed[0].file.read_text().splitlines()[listed[0].line - 1 : listed[0].line + 1])
    assert language.idle_rules() == []


def test_columns_of_another_table_need_its_rules(config: Path):
    change(config, "  - email\n", "")
    listed = findings(config, "customer")
    assert any(
        "the rule email does not run: sales_order.yaml, whose columns these are, does not name it" in one
        for one in listed
    )
    change(config, "after: sales_order", "after: sales_ordr", "customer")
    assert any("there is no mapping 'sales_ordr'" in one for one in findings(config, "customer"))


# ---- tables decide -------------------------------------------------------------------------------------------------


def test_a_rule_that_a_table_no_longer_names_does_not_run_and_one_that_it_names_does(config: Path):
    shipped = names(language.load("product", config / "mappings").plan)
    change(config, "  - target: Images\n    rule: place_images\n", "", "product")
    change(config, "not_sent:\n", "not_sent:\n  Images: The channel's own.\n", "product")
    assert set(shipped) - set(names(language.load("product", config / "mappings").plan)) == {"place_images"}
    change(config, "  - target: Cost\n    from: ProfileCost\n    rule: profile_cost\n", "", "product")
    change(config, "not_sent:\n", "not_sent:\n  Cost: The channel's own.\n", "product")
    assert "profile_cost" not in names(language.load("product", config / "mappings").plan)


def test_a_column_that_a_flow_needs_and_no_rule_makes_is_told(config: Path):
    change(config, "  - return_state\n  - work_return\n", "", "credit_memo")
    table = language.read(config / "mappings" / "stock_adjustment.yaml")
    parsed = read_documents([], *table.source, lines="")
    with pytest.raises(ConfigError, match="no rule of the table makes the column 'missing'"):
        table.apply(parsed.frames, contexts()["stock_adjustment"], also=("state", "missing"))


def test_the_page_has_each_rule_of_a_mapping_in_its_order_with_what_it_reads_and_writes():
    page = describe.markdown()
    for name in language.names():
        table = language.load(name)
        part = page.split(f"## {table.title}\n")[1].split("\n## ")[0]
        places = [part.index(f"| {number} | **{one}** |") for number, one in enumerate(names(table.plan), 1)]
        assert places == sorted(places)
        for one in table.plan.rules:
            assert one.docstring
            assert one.docstring in part

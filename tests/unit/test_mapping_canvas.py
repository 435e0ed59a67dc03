"""Mapping files as the canvas shows and changes them: trees, lines, drawing, and the same text after all of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from crossdock.errors import ConfigError, NotAllowed
from crossdock.mapping import columns, editing, language
from crossdock.services import mappings
from crossdock.services.mappings import Canvas, Change, Line, Node
from crossdock.services.people import Person, Role, on_this_machine

ANN = on_this_machine("ann")
VIEWER = Person("vic", frozenset({Role.VIEWER}))
NAMES = language.names()


def nodes(tree: tuple[Node, ...]) -> Iterator[Node]:
    for one in tree:
        yield one
        yield from nodes(one.children)


def states(canvas: Canvas) -> dict[str, str]:
    return {one.path: one.state for one in nodes(canvas.target)}


def line(canvas: Canvas, path: str) -> Line:
    (found,) = [one for one in canvas.lines if one.path == path]
    return found


def drawn(name: str, **change: str) -> Canvas:
    """A line drawn by somebody who was asked where another one stands."""
    return mappings.changed(ANN, name, mappings.text_of(name), Change("draw", **change, replace=True))


@pytest.mark.parametrize("name", NAMES)
def test_load_model_save_changes_no_byte_of_a_shipped_file(name: str):
    canvas = mappings.canvas(VIEWER, name)
    assert canvas.text.encode() == mappings.path_of(name).read_bytes()
    assert not canvas.changed
    assert canvas.findings == ()
    text = canvas.text
    for one in canvas.lines:  # say of every line what the model shows
        words = {
            "from": list(one.written) or None, "rule": one.rule, "lookup": one.lookup, "default": one.default,
            "convert": [(step.name, step.argument) for step in one.converters] or None, "constant": one.constant,
            "required": one.required, "note": one.note or None,
        }  # fmt: skip
        text = editing.change_line(text, one.part, one.target, words)
    assert text == canvas.text


@pytest.mark.parametrize("name", NAMES)
def test_every_line_ends_in_the_target_tree_and_begins_in_the_source_tree(name: str):
    canvas = mappings.canvas(VIEWER, name)
    targets = {one.path: one for one in nodes(canvas.target)}
    sources = {one.path: one for one in nodes(canvas.source)}
    for one in canvas.lines:
        assert targets[one.path].state == "mapped"
        for path in one.sources:
            assert sources[path].state == "used"
        assert one.sources or one.columns or one.constant is not None
    for rule in canvas.rules:
        assert set(rule.reads) <= set(sources), rule.name
    used = {one.rule for one in canvas.lines if one.rule}
    assert canvas.after or used <= {rule.name for rule in canvas.rules}


def test_the_trees_nest_lines_and_mark_what_is_required_and_missing():
    canvas = mappings.canvas(VIEWER, "sales_order")
    (items,) = [one for one in canvas.target if one.path == "LineItems"]
    assert [one.path for one in items.children][:2] == ["LineItems.ExternalLineID", "LineItems.SKU"]
    assert all(one.of_lines for one in items.children)
    assert {one.path: one.required for one in canvas.target}["CurrencyCode"]
    without = mappings.changed(ANN, "sales_order", canvas.text, Change("remove", "CurrencyCode"))
    assert states(without)["CurrencyCode"] == "missing"
    assert any("needs CurrencyCode" in one.message for one in without.findings)
    less = mappings.changed(ANN, "sales_order", canvas.text, Change("remove", "LineItems.Quantity"))
    assert states(less)["LineItems.Quantity"] == "missing"
    assert states(mappings.canvas(VIEWER, "customer"))["TaxExempt"] == "not_sent"
    inside = {one.path: one.takes for one in nodes(canvas.source)}
    assert inside["OrderItems.SKU"]
    assert not inside["OrderItems.BundleComponents[].SKU"]


def test_what_a_line_could_not_send_is_said_before_it_is_drawn():
    """Every field that takes a line has a place in the document that is sent, or says why not."""
    for name in NAMES:
        canvas = mappings.canvas(VIEWER, name)
        for one in nodes(canvas.target):
            if not one.takes or one.state == "mapped":
                continue
            part, target = mappings.place(language.load(name), one.path)
            held = name not in columns.registered() or target in columns.columns_of(name, part)
            of_the_flow = target in columns.BY_CODE.get(name, {})
            assert bool(one.hint) is (of_the_flow or not held), (name, one.path)
    memo = mappings.canvas(VIEWER, "credit_memo")
    (place,) = [one for one in nodes(memo.target) if one.path == "LocationID"]
    assert place.hint.startswith("is not sent by the flow itself")
    sent = drawn("credit_memo", path="LocationID", source="Currency")
    assert [one.path for one in sent.findings if "not sent by the flow" in one.message] == ["LocationID"]
    restock = Change("change", "Restock", words={"constant": True})
    (found,) = mappings.changed(ANN, "credit_memo", memo.text, restock).findings
    assert "Restock is set to no by the flow itself" in found.message


def test_a_list_that_one_line_fills_as_a_whole_takes_no_lines_to_its_entries():
    canvas = mappings.canvas(VIEWER, "product")
    inside = {one.path: one for one in nodes(canvas.target)}["Attributes[0].Name"]
    assert not inside.takes
    assert inside.hint == "is a part of Attributes, which one line fills as a whole"
    both = drawn("product", path="Attributes[0].Name", source="Brand")
    assert any("Attributes[0].Name is a part of Attributes" in one.message for one in both.findings)
    alone = mappings.changed(ANN, "product", canvas.text, Change("remove", "Attributes"))
    now = {one.path: one for one in nodes(alone.target)}["Attributes[0].Name"]
    assert now.takes
    assert "has no column yet, so it cannot be sent; a developer makes it" in now.hint


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        ({"from": 5}, "`from` is a path"),
        ({"from": {"a": 1}}, "`from` is a path"),
        ({"from": [["OrderID"]]}, "`from` is a path"),
        ({"from": [None]}, "`from` is a path"),
        ({"convert": 5}, "A converter has a name"),
        ({"convert": [["to text"]]}, "A converter has a name"),
        ({"convert": [{"name": "shorten to", "argument": [1]}]}, "A converter has a name"),
        ({"note": {"a": 1}}, "`note` is one value"),
        ({"default": [[[]]]}, "`default` is one value"),
        ({"note": 1.5}, "A value is a text"),
    ],
)
def test_a_word_of_another_shape_is_refused_in_words(words: dict[str, Any], refusal: str):
    text = mappings.text_of("sales_order")
    with pytest.raises(ConfigError, match=refusal):
        mappings.changed(ANN, "sales_order", text, Change("change", "Notes", words=words))


def test_a_single_converter_needs_no_list():
    change = Change("change", "Notes", words={"convert": "to text"})
    made = mappings.changed(ANN, "sales_order", mappings.text_of("sales_order"), change)
    assert [one.name for one in line(made, "Notes").converters] == ["to text"]


def test_a_number_without_end_is_a_finding_of_its_line():
    """Python refuses to count that far."""
    text = mappings.text_of("sales_order").replace("constant: ChannelAdvisor", f"constant: {'9' * 5_000}")
    (found,) = mappings.canvas(VIEWER, "sales_order", text).findings
    assert (found.path, found.message) == (
        "Source",
        "the constant of Source has 5000 characters; the contract takes 40",
    )


def test_a_line_is_drawn_with_the_converter_that_the_types_need():
    text = mappings.text_of("shipment")
    without = mappings.changed(ANN, "shipment", text, Change("remove", "ChannelAdvisorOrderID")).text
    canvas = mappings.changed(
        ANN, "shipment", without, Change("draw", "ChannelAdvisorOrderID", source="ExternalOrderID")
    )
    made = line(canvas, "ChannelAdvisorOrderID")
    assert made.sources == ("ExternalOrderID",)
    assert [one.name for one in made.converters] == ["to whole number"]
    assert canvas.findings == ()
    assert drawn("shipment", path="ChannelAdvisorOrderID", source="ExternalOrderID").text == text


def test_an_amount_that_is_written_as_text_is_read_as_one():
    canvas = drawn("product", path="Cost", source="ListPrice")
    assert [one.name for one in line(canvas, "Cost").converters] == ["to amount"]
    assert canvas.findings == ()
    without = mappings.changed(ANN, "product", canvas.text, Change("change", "Cost", words={"convert": None}))
    assert any("what arrives is text" in one.message for one in without.findings), "the run would refuse it"


def test_a_line_drawn_to_a_mapped_field_takes_the_place_of_what_was_there():
    canvas = drawn("sales_order", path="PaymentStatus", source="OrderStatus")
    made = line(canvas, "PaymentStatus")
    assert (made.sources, made.lookup, made.rule) == (("OrderStatus",), None, None)
    assert any("PaymentStatus does not take" in one.message for one in canvas.findings), "codes must be looked up"
    constant = drawn("sales_order", path="Source", source="SiteName")
    assert line(constant, "Source").constant is None
    rule = drawn("sales_order", path="ShippingAddress.Name", source="ShippingAddress.Name")
    assert line(rule, "ShippingAddress.Name").rule is None
    assert rule.findings == ()


def test_a_line_that_is_there_is_not_replaced_unless_it_is_said_so():
    text = mappings.text_of("sales_order")
    with pytest.raises(ConfigError, match="Notes is mapped already: rule order_document") as raised:
        mappings.changed(ANN, "sales_order", text, Change("draw", "Notes", source="SpecialInstructions"))
    assert "replaced" in raised.value.do
    noted = [one for one in mappings.canvas(VIEWER, "sales_order").lines if one.note and one.part == "fields"]
    assert noted
    for one in noted:
        made = line(drawn("sales_order", path=one.path, source="SiteName"), one.path)
        assert (made.written, made.note, made.default) == (("SiteName",), "", None), "the words were about another line"
    same = Change("draw", "CurrencyCode", source="Currency")
    assert mappings.changed(ANN, "sales_order", text, same).text == text, "what says so already asks nobody"


def test_a_constant_is_drawn_as_well():
    text = mappings.text_of("sales_order")
    without = mappings.changed(ANN, "sales_order", text, Change("remove", "Source")).text
    made = mappings.changed(ANN, "sales_order", without, Change("draw", "Source", words={"constant": "Shop"}))
    assert line(made, "Source").constant == "Shop"
    assert made.findings == ()
    with pytest.raises(ConfigError, match="mapped already: always Shop"):
        mappings.changed(ANN, "sales_order", made.text, Change("draw", "Source", words={"constant": "Other"}))


def test_lines_of_lines_take_the_documents_fields_and_the_columns_of_their_rule():
    canvas = drawn("sales_order", path="LineItems.KitParentSKU", source="Currency")
    assert line(canvas, "LineItems.KitParentSKU").written == ("head.Currency",)
    canvas = drawn("sales_order", path="LineItems.TaxRemittedBy", source="TaxRemittedBy")
    assert canvas.text == mappings.text_of("sales_order")
    canvas = drawn("sales_order", path="LineItems.KitParentSKU", source="SKU", rule="explode_kits")
    assert line(canvas, "LineItems.KitParentSKU").columns == ("SKU",)
    assert canvas.findings == ()
    canvas = drawn("sales_order", path="LineItems.KitParentSKU", rule="explode_kits")
    assert canvas.text == mappings.text_of("sales_order")


def test_a_field_that_was_not_sent_is_drawn_and_no_longer_listed():
    canvas = drawn("product", path="ShortDescription", source="Title")
    assert "ShortDescription" not in canvas.not_sent
    assert line(canvas, "ShortDescription").sources == ("Title",)
    back = mappings.changed(ANN, "product", canvas.text, Change("remove", "ShortDescription"))
    assert states(back)["ShortDescription"] == "free"
    reason = mappings.changed(ANN, "product", back.text, Change("not_sent", "ShortDescription", reason="Ours: later."))
    assert reason.not_sent["ShortDescription"] == "Ours: later."


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        (
            "sales_order",
            Change("draw", "Notes", source="OrderItems.Title"),
            "is of each line, and Notes is of the whole",
        ),
        ("sales_order", Change("draw", "LineItems.SKU", source="OrderItems.Title"), "the rule explode_kits makes"),
        ("sales_order", Change("draw", "Notes", source="ShippingAddress"), "No line can begin"),
        ("sales_order", Change("draw", "Notes", source="OrderItems.BundleComponents[].SKU"), "of each line"),
        ("sales_order", Change("draw", "Nots", source="Currency"), "has no field 'Nots'"),
        ("sales_order", Change("draw", "Notes", source="Title", rule="clean_text"), "writes no column"),
        ("sales_order", Change("draw", "Notes"), "Nothing is said"),
        ("sales_order", Change("change", "Notes", words={"target": "X"}), "keeps its target"),
        ("sales_order", Change("change", "Notes", words={"convert": [5]}), "A converter has a name"),
        ("sales_order", Change("not_sent", "Notes", reason="x"), "is mapped"),
        ("nobody", Change("remove", "Notes"), "There is no mapping 'nobody'"),
        ("../flows", Change("remove", "Notes"), "There is no mapping"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_words(name: str, change: Change, words: str):
    text = mappings.text_of(name) if name in NAMES else "fields: []\n"
    with pytest.raises(ConfigError, match=words) as raised:
        mappings.changed(ANN, name, text, change)
    assert raised.value.do


def test_a_panel_says_converters_lookup_and_default_of_a_line():
    text = mappings.text_of("sales_order")
    words = {"convert": ["trim", {"name": "shorten to", "argument": 20}], "default": "none", "note": "Short."}
    canvas = mappings.changed(ANN, "sales_order", text, Change("change", "Notes", words=words))
    made = line(canvas, "Notes")
    assert [(one.name, one.argument) for one in made.converters] == [("trim", None), ("shorten to", 20)]
    assert (made.default, made.note) == ("none", "Short.")
    assert canvas.findings == ()
    odd = mappings.changed(ANN, "sales_order", text, Change("change", "Notes", words={"lookup": "cariers"}))
    assert any(one.path == "Notes" and "did you mean 'carriers'" in one.message for one in odd.findings)
    before = line(mappings.canvas(ANN, "sales_order"), "Notes").note
    undone = {"convert": None, "default": None, "note": before}
    assert mappings.changed(ANN, "sales_order", canvas.text, Change("change", "Notes", words=undone)).text == text


def test_a_draft_that_is_no_yaml_says_where():
    with pytest.raises(ConfigError, match="this is not YAML"):
        mappings.canvas(VIEWER, "sales_order", "fields:\n  - {target: A\n")
    odd = mappings.canvas(VIEWER, "sales_order", mappings.text_of("sales_order").replace("tims Sales", "tims Sails"))
    assert odd.lines == ()
    assert odd.findings


def test_looking_needs_a_role_and_changing_that_of_an_analyst():
    nobody = Person("nora", frozenset())
    with pytest.raises(NotAllowed):
        mappings.listed(nobody)
    with pytest.raises(NotAllowed):
        mappings.canvas(nobody, "holds")
    with pytest.raises(NotAllowed):
        mappings.changed(VIEWER, "holds", mappings.text_of("holds"), Change("remove", "OrderStatus"))
    assert [one.name for one in mappings.listed(VIEWER)] == NAMES


def test_the_vocabulary_is_that_of_the_language():
    offered = mappings.vocabulary(VIEWER)
    assert {one.name for one in offered.converters} >= {"to text", "shorten to", "to date in"}
    assert next(one for one in offered.converters if one.name == "shorten to").argument == "the most characters"
    assert next(one for one in offered.lookups if one.name == "payment_status").columns
    assert "explode_kits" in {one.name for one in offered.rules}


def test_the_mappings_of_another_api_are_shown_with_all_their_lines():
    listed = {one.name: one for one in mappings.of_dialects(VIEWER)}
    assert set(listed) == {name for name in language.all_names() if "/" in name}
    order = mappings.of_dialect(VIEWER, "channel_advisor_v1/order")
    assert order == listed["channel_advisor_v1/order"]
    assert (order.source, order.target) == ("Order of Channel Advisor's API v1", "Order of Channel Advisor")
    assert order.findings == ()
    (remitter,) = [one for one in order.lines if one.target == "TaxRemittedBy"]
    assert "tax_remitter" in remitter.origin
    assert "sites.yaml" in remitter.note
    (units,) = [one for one in order.lines if one.target == "OrderItems.QuantityShipped"]
    assert "line_units" in units.origin
    for unknown in ("sales_order", "channel_advisor_v1/nothing", "../sites"):
        with pytest.raises(ConfigError, match="There is no mapping"):
            mappings.of_dialect(VIEWER, unknown)

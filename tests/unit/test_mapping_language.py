"""The mapping language: every way to get a table wrong is told with its line and the nearest right name."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from crossdock.errors import ConfigError
from crossdock.mapping import describe, language, lookups
from crossdock.settings import config_dir


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A copy of the shipped configuration, to be broken."""
    for room in ("mappings", "lookups"):
        shutil.copytree(config_dir() / room, tmp_path / room)
    return tmp_path


def findings(config: Path, name: str = "sales_order") -> list[str]:
    """`line: what` of every finding."""
    return [
        str(one).removeprefix(f"{one.file}:") for one in language.read(config / "mappings" / f"{name}.yaml").check()
    ]


def change(config: Path, old: str, new: str, name: str = "mappings/sales_order.yaml") -> int:
    """Replaces the first `old`; the line on which it stood."""
    path = config / name
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")
    return text[: text.index(old)].count("\n") + 1


@pytest.mark.parametrize("name", language.names())
def test_the_shipped_mappings_fit_both_contracts(name: str):
    assert language.load(name).check() == []


BROKEN = [
    # source paths
    ("from: ChannelAdvisorOrderID", "from: ChannelAdvisorOrderId", 0,
     "Order has no field 'ChannelAdvisorOrderId'; did you mean 'ChannelAdvisorOrderID'?"),
    ("from: Currency", "from: ShippingAddress.Contry", 0,
     "Order has no field 'ShippingAddress.Contry'; did you mean 'ShippingAddress.Country'?"),
    ("from: Currency", "from: ShippingAddress", 0,
     "ShippingAddress is an object; say which field inside it is meant"),
    ("from: head.TaxRemittedBy", "from: head.TaxRemitedBy", 0,
     "Order has no field 'TaxRemitedBy'; did you mean 'TaxRemittedBy'?"),
    ("from: head.TaxRemittedBy", "from: TaxRemittedBy", 0,
     "Order.OrderItems has no field 'TaxRemittedBy'; did you mean 'head.TaxRemittedBy'?"),
    ("from: ShipTo.Region", "from: ShipTo.Town", 0,
     "Order has no field 'ShipTo.Town', the rule harmonise_addresses no such column; did you mean 'ShipTo."),
    ("from: Currency", "from: ShipTo.City", 0,
     "'ShipTo.City' is a column of the rule harmonise_addresses; say so with `rule: harmonise_addresses`"),
    # target fields
    ("target: ExternalOrderID", "target: ExternalOrderNumber", 0,
     "SalesOrderCreate has no field 'ExternalOrderNumber'; did you mean 'ExternalOrderID'?"),
    ("target: ShippingAddress.City", "target: ShippingAddress", 0,
     "ShippingAddress is an object; map the fields inside it"),
    ("target: CurrencyCode", "target: Channel", 0, "Channel is mapped a second time; first in line"),
    ("target: ExternalLineID\n      rule", "target: ExternalLine\n      rule", 0,
     "SalesOrderCreate.LineItems has no field 'ExternalLine'; did you mean 'ExternalLineID'?"),
    ("target: LineItems", "target: LineItem", 0, "SalesOrderCreate has no list 'LineItem'; did you mean 'LineItems'?"),
    ("from: OrderItems", "from: OrderLines", -1, "Order has no list 'OrderLines'; did you mean 'OrderItems'?"),
    ("key: ExternalLineID", "key: LineID", -2, "no field of the lines is 'LineID'; did you mean 'ExternalLineID'?"),
    ("required: later", "required: no", 0, "SalesOrderCreate requires CustomerID; it cannot be `required: no`"),
    # types
    ("    convert: to text\n", "", -1,
     "ExternalOrderID is text, but what arrives is a whole number; `convert: to text` would do"),
    ("{target: TotalAmount, rule: totals}", "{target: TotalAmount, from: OrderItemCount}", 0,
     "TotalAmount is an amount, but what arrives is a whole number; `convert: to amount` would do"),
    ("{target: Quantity, rule: explode_kits}", "{target: Quantity, from: UnitPrice}", 0,
     "Quantity is a whole number, but what arrives is an amount"),
    ("{target: KitParentSKU, rule: explode_kits}", "{target: KitParentSKU, from: Title}", 0,
     "the lines are those that the rule explode_kits makes, and it gives them no 'Title'"),
    ("    from: Currency", "    from: Exported", 0, "CurrencyCode is text, but what arrives is a boolean"),
    # converters
    ("convert: to text", "convert: to txt", 0, "there is no converter 'to txt'; did you mean 'to text'?"),
    ("convert: to text", "convert: upper case", 0, "`upper case` takes text, but what arrives is a whole number"),
    ("convert: to text", "convert: [to text, {shorten to: many}]", 0,
     "`shorten to` wants the most characters, not 'many'"),
    ("convert: to text", "convert: [to text, shorten to]", 0, "`shorten to` wants the most characters, not nothing"),
    ("convert: to text", "convert: [to text, {trim: 5}]", 0, "`trim` takes no argument"),
    ("convert: to microseconds", "convert: {to date in: Europe/Londn}", 0, "`to date in` wants the time zone"),
    # lookups and rules
    ("lookup: payment_status", "lookup: payment_states", 0, "there is no lookup 'payment_states'"),
    ("lookup: payment_status", "lookup: payment_status.tim", 0,
     "the lookup 'payment_status' has no column 'tim'; did you mean 'tims'?"),
    ("lookup: payment_status", "lookup: order_status", 0,
     "the lookup 'order_status' does not have 'Cleared', which PaymentStatus may be"),
    ("lookup: payment_status", "lookup: payment_status.effect", 0,
     "the lookup 'payment_status.effect' gives 'released', which PaymentStatus does not take"),
    ("    lookup: payment_status\n", "", -1,
     "PaymentStatus may be 'Cleared', which PaymentStatus does not take; a lookup must say what it becomes"),
    ("rule: harmonise_addresses", "rule: harmonize_addresses", 0,
     "there is no rule 'harmonize_addresses'; did you mean 'harmonise_addresses'?"),
    ("{target: DiscountTotal, rule: totals}", "{target: DiscountTotal, rule: settle_amounts}", 0,
     "the rule settle_amounts does not write 'DiscountTotal'"),
    # constants and defaults
    ("constant: ChannelAdvisor", "constant: 5", 0, "the constant of Source is 5, but the field is text"),
    ("constant: ChannelAdvisor", f"constant: {'x' * 41}", 0, "the constant of Source has 41 characters"),
    ("constant: ChannelAdvisor", "constant: ''", 0,
     "the constant of Source has 0 characters; the contract wants 1 or more"),
    ("    rule: taxes_inside", "    constant: maybe", 0,
     "the constant of PricesIncludeTax is 'maybe', but the field is a boolean"),
    ("    from: Currency", "    from: Currency\n    default: pounds", 1,
     "the default of CurrencyCode is 'pounds', but the contract wants ^[A-Z]{3}$"),
    ("{target: TaxTotal, rule: totals}", "{target: TaxTotal, rule: totals, default: 0.005}", 0,
     "the default of TaxTotal has more than two decimals"),
    ("{target: TaxTotal, rule: totals}", "{target: TaxTotal, rule: totals, default: none}", 0,
     "the default of TaxTotal is no amount"),
    # the file's shape
    ("    from: Currency", "    form: Currency", 0, "a field has no word 'form'; did you mean 'from'?"),
    ("    from: Currency", "    form: Currency", -1, "CurrencyCode comes from nowhere; give it `from`, `rule` or"),
    ("    constant: ChannelAdvisor", "    constant: ChannelAdvisor\n    from: OrderID", 0,
     "Source has a `constant`, so nothing else can say where it comes from"),
    ("    from: Currency", "    from: Currency\n    from: OrderID", 1, "'from' stands here a second time"),
    ("    from: Currency", "    from: Currency\n    missing: default", 1, "`missing: default` needs a `default`"),
    ("    from: Currency", "    from: Currency\n    missing: skip", 1, "`missing` is problem or default, not 'skip'"),
    ("required: later", "required: sometimes", 0, "`required` is yes, no or later, not 'sometimes'"),
    ("source: channel_advisor Order", "source: channel_advisor Ordr", 0,
     "The contract of channel_advisor has no schema 'Ordr'; Did you mean Order?"),
    ("target: tims SalesOrderCreate", "target: tms SalesOrderCreate", 0, "There is no contract of a system 'tms'"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "below", "message"), BROKEN, ids=[f"{one[1]} {one[2]}" for one in BROKEN])
def test_each_mistake_is_told_with_its_line_and_the_nearest_right_name(
    config: Path, old: str, new: str, below: int, message: str
):
    line = change(config, old, new) + below
    found = findings(config)
    assert any(one.startswith(f"{line}: {message}") for one in found), found


@pytest.mark.parametrize(
    ("entry", "path"),
    [
        ("  - {target: TotalAmount, rule: totals}\n", "SalesOrderCreate needs TotalAmount, and no field maps it"),
        ("  - {target: ShippingAddress.City, from: DeliverTo.City, rule: stand_in}\n",
         "SalesOrderCreate needs ShippingAddress.City, and no field maps it"),
        ("  - {target: BillingAddress.City, from: BillTo.City, rule: harmonise_addresses}\n",
         "SalesOrderCreate needs BillingAddress.City, and no field maps it"),
        ("    - {target: SKU, rule: explode_kits}\n", "SalesOrderCreate.LineItems needs SKU, and no field maps it"),
    ],
)  # fmt: skip
def test_a_required_target_field_that_no_field_maps_is_told(config: Path, entry: str, path: str):
    change(config, entry, "")
    assert [one.partition(": ")[2] for one in findings(config)] == [path]


def test_an_entry_of_a_list_must_be_whole_too(config: Path):
    change(config, "  - target: ExternalIDs[0].Source\n    constant: ChannelAdvisor\n", "", "mappings/customer.yaml")
    assert findings(config, "customer") == ["8: CustomerCreate needs ExternalIDs[0].Source, and no field maps it"]


def test_a_required_list_that_nothing_maps_is_told(config: Path):
    path = config / "mappings" / "sales_order.yaml"
    text = path.read_text("utf-8")
    path.write_text(text[: text.index("\nchildren:")], "utf-8")
    listed = [one.partition(": ")[2] for one in findings(config)]
    assert listed[0] == "SalesOrderCreate needs LineItems, and no field maps it"
    # With the lines the one rule goes that makes them, which another one needs.
    assert all(one.startswith("the rule totals reads 'made.") for one in listed[1:])


def test_a_field_named_as_not_sent_must_be_one(config: Path):
    change(config, "TaxExempt:", "TaxExmpt:", "mappings/customer.yaml")
    assert "CustomerCreate has no field 'TaxExmpt'; did you mean 'TaxExempt'?" in findings(config, "customer")[0]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("  - target: Source\n", "  - target: Source\n   constant: x\n", "this is not YAML"),
        ("fields:\n", "fields: [\n", "this is not YAML"),
        ("    constant: ChannelAdvisor", "    constant: 'ChannelAdvisor", "this is not YAML"),
        ("    constant: ChannelAdvisor", "\tconstant: ChannelAdvisor", "this is not YAML"),
    ],
)
def test_broken_yaml_gives_one_sentence_with_file_and_line(config: Path, old: str, new: str, problem: str):
    change(config, old, new)
    path = config / "mappings" / "sales_order.yaml"
    with pytest.raises(ConfigError, match=problem) as caught:
        language.load("sales_order", config / "mappings")
    where, _, rest = caught.value.message.partition(": ")
    assert where.startswith(f"{path}:")
    assert where.removeprefix(f"{path}:").isdigit()
    assert "\n" not in rest


def test_a_file_that_is_no_text_gives_one_sentence(config: Path):
    (config / "mappings" / "sales_order.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="this is not YAML"):
        language.load("sales_order", config / "mappings")


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words", "fields: {a: b}\n", "fields:\n  - from: x\n"])
def test_a_file_of_another_shape_is_told_and_never_a_crash(config: Path, text: str):
    path = config / "mappings" / "sales_order.yaml"
    path.write_text(text, "utf-8")
    assert len(language.read(path).check()) >= 1


def test_loading_a_wrong_mapping_refuses_with_the_first_finding(config: Path):
    line = change(config, "from: ChannelAdvisorOrderID", "from: ChannelAdvisorOrderId")
    with pytest.raises(ConfigError, match=f"sales_order.yaml:{line}: Order has no field"):
        language.load("sales_order", config / "mappings")


def test_a_mapping_that_is_mended_loads_without_a_restart(config: Path):
    change(config, "from: ChannelAdvisorOrderID", "from: ChannelAdvisorOrderId")
    with pytest.raises(ConfigError):
        language.load("sales_order", config / "mappings")
    change(config, "from: ChannelAdvisorOrderId", "from: ChannelAdvisorOrderID")
    assert language.load("sales_order", config / "mappings").name == "sales_order"


def test_an_unknown_mapping_names_the_nearest(config: Path):
    with pytest.raises(ConfigError, match="did you mean 'sales_order'"):
        language.load("sales_orders", config / "mappings")


def test_a_lookup_that_cannot_be_read_is_a_finding_of_the_mapping(config: Path):
    change(config, "Cleared,Paid,released", "Cleared,Paid", "lookups/payment_status.csv")
    assert any("cannot be read" in one and "2 values for 3 columns" in one for one in findings(config))


def test_a_lookup_without_a_code_of_the_source_is_a_finding(config: Path):
    change(config, "Deposited,Paid,released\n", "", "lookups/payment_status.csv")
    assert any("does not have 'Deposited', which PaymentStatus may be" in one for one in findings(config))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a\n1\n", "does not name two or more columns"),
        ("a,a\n1,2\n", "does not name two or more columns"),
        ("a,b\n1,2\n# remark\n1,3\n", "t.csv:4: '1' stands here a second time"),
        ("a,b\n1,2,3\n", "t.csv:2: 3 values for 2 columns"),
    ],
)
def test_a_wrong_lookup_is_told_with_its_line(tmp_path: Path, text: str, message: str):
    (tmp_path / "t.csv").write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=message):
        lookups.read("t", tmp_path)


def test_the_page_names_every_target_field_with_its_origin_and_contract():
    page = describe.markdown()
    for name in language.names():
        mapping = language.load(name)
        for one in mapping.fields + (mapping.children.fields if mapping.children else ()):
            assert f"| **{one.target}** |" in page
    assert "| **ExternalOrderID** | ChannelAdvisorOrderID, to text | yes | text, 1 to 60 characters |" in page
    assert "| **PaymentStatus** | PaymentStatus, looked up in *payment_status* | yes | one of Unpaid," in page
    assert "| **Restock** | always `no` | yes | boolean |" in page
    assert "Cuts a moment to six fractional digits, never rounds. Null stays null." in page


def test_the_generated_page_is_up_to_date():
    page = Path(__file__).parents[2] / "docs" / "MAPPINGS.md"
    assert page.read_text("utf-8") == describe.markdown()

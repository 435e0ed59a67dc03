"""Rules and lookups in a real browser: a carrier that parcels wait for, a margin tried, published and taken back, a
second person's consent, every role, hostile values, 5,000 rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal

import msgspec
import pytest
import sqlalchemy as sa
from playwright.sync_api import Locator, Page, expect

from browser.conftest import Console, axe, shot
from crossdock.services import configuration
from crossdock.services.people import Person, Role, on_this_machine
from integration.builders import at_the_channel, line, place, ship

PARCELS = 11
PATIENCE = 20_000  # for a check of all files on a busy machine
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
HOSTILE = "<script>alert(1)</script> \u202egnp.exe שלום 🧨 "
KINDS = "lookups/settlement_kinds.csv"
CARRIERS, PRICES, POSTING = "lookups/carriers.csv", "prices.yaml", "posting.yaml"


@pytest.fixture(autouse=True)
def as_shipped(console: Console) -> Iterator[None]:
    """Each test begins and ends with the shipped files."""
    yield
    with console.shop.runtime() as runtime, runtime.engine.begin() as connection:
        if configuration.status(connection).replaced:
            configuration.rollback(connection, on_this_machine("test"), configuration.SHIPPED)


def refused_parcels(console: Console, carrier: str, number: int = PARCELS) -> dict[str, str]:
    """Parcels of a carrier that nobody knows, refused: order by parcel."""
    keys = [place(console.shop, line(quantity=1)) for _ in range(number)]
    console.shop.sync()
    sent = {ship(console.shop, key, {1: 1}, Carrier=carrier, ServiceLevel="2nd Class"): key for key in keys}
    console.shop.sync(flow="shipments")
    letters = console.shop.letters()
    assert all(letters[key].rule == "unknown_carrier" for key in sent)
    return sent


def publish_elsewhere(console: Console, name: str, path: str, text: str, message: str) -> int:
    """What somebody else proposes and publishes meanwhile; its number."""
    person = Person(name, frozenset({Role.ANALYST}))
    with console.shop.runtime() as runtime, runtime.engine.begin() as connection:
        version = configuration.propose(connection, person, {path: text}, message)
        return configuration.publish(connection, person, version.number).number


def text_of(console: Console, path: str) -> str:
    with console.shop.runtime() as runtime, runtime.engine.connect() as connection:
        return configuration.text(connection, path) or ""


def rows_of(page: Page, path: str) -> str:
    return page.locator(f'[data-unknown="{path}"]').inner_text()


def press_preview(page: Page, box: Locator) -> None:
    """Presses What would change, and waits for the answer."""
    box.get_by_role("button", name="What would change").click()
    expect(page.locator(".effect").last).to_contain_text("Dry: nothing was sent", timeout=PATIENCE)


def confirm(box: Locator) -> None:
    """Writes the number of a large change, where it is one."""
    field = box.locator("[data-confirm]")
    if field.is_visible():
        field.fill(re.search(r"Write ([0-9,]+) to confirm", box.inner_text())[1])  # type: ignore[index]


def test_a_carrier_that_eleven_parcels_wait_for_is_added_and_they_go(console: Console) -> None:
    parcels = refused_parcels(console, "Roial Mail")
    page = console.open(console.login("analyst"), "/rules")
    box = page.locator(f'[data-unknown="{CARRIERS}"]')
    expect(box.get_by_role("heading")).to_contain_text("that Carriers does not know")
    row = box.locator('tr[data-value="Roial Mail / 2nd Class"]')
    expect(row).to_contain_text("Royal Mail")
    cells = [one.input_value() for one in row.locator("[data-cell]").all()]
    assert cells[:3] == ["Roial Mail", "2nd Class", "Royal Mail"]
    shot(page, "rules")
    assert axe(page) == []
    button = box.get_by_role("button", name=f"Publish and replay the {PARCELS}")
    expect(button).to_be_disabled()
    expect(box).to_contain_text("First look at what would change.")
    expect(button).to_have_attribute("title", "First look at what would change.")
    press_preview(page, box)
    effect = box.locator(".effect")
    expect(effect).to_contain_text(f"{PARCELS} of {PARCELS} open letters would pass")
    expect(effect.locator('a[href*="/letters/"]')).to_have_count(PARCELS)
    assert effect.locator('a[href*="/record?q="]').count() >= PARCELS
    expect(box).to_contain_text("Channel Advisor alone knows what it takes.")
    shot(page, "rules_carrier_effect")
    assert axe(page) == []
    expect(box.locator("[data-confirm]")).to_be_hidden()
    button.click()
    expect(page.locator("#message")).to_contain_text(f"{PARCELS} in replay")
    expect(page).to_have_url(re.compile(r"/letters/replays/\d+$"))
    assert console.work_asked_runs() == 1
    for parcel, order in parcels.items():
        (shipment,) = at_the_channel(console.shop, order)
        assert shipment["Carrier"] == "Royal Mail", parcel
    assert not console.shop.letters().keys() & parcels.keys()
    assert text_of(console, CARRIERS).endswith("\n" + ",".join(cells) + "\n")
    console.open(page, "/rules")
    expect(page.locator(f'[data-unknown="{CARRIERS}"]')).to_have_count(0)
    assert page.problems == []


def test_add_it_there_leads_to_the_row_of_the_value_filled_in(console: Console) -> None:
    parcels = refused_parcels(console, "Zeppelin")
    others = refused_parcels(console, "Roial Mail")
    page = console.open(console.login("analyst"), "/letters/group?flow=shipments&rule=unknown_carrier")
    value = page.get_by_role("list", name="Values that are wrong").get_by_role("link", name="Zeppelin")
    value.click()
    page.get_by_role("link", name="Add it there").click()
    box = page.locator(f'[data-unknown="{CARRIERS}"]')
    row = box.locator("tr[data-wanted]")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("Zeppelin / 2nd Class")
    assert box.locator("tr[data-value]").first.get_attribute("data-value") == "Zeppelin / 2nd Class"
    field = row.locator("[data-cell]").nth(2)
    expect(field).to_be_focused()
    expect(field).to_have_value("")
    assert [one.input_value() for one in row.locator("[data-cell]").all()][:2] == ["Zeppelin", "2nd Class"]
    assert box.locator("[data-take]:checked").count() == 0
    page.keyboard.type("Zeppelin Air")
    expect(row.get_by_role("checkbox")).to_be_checked()
    expect(box.get_by_role("button", name=f"Publish and replay the {PARCELS}")).to_be_visible()
    shot(page, "rules_wanted")
    assert axe(page) == []
    letter = console.shop.letters()[next(iter(others))]
    console.open(page, f"/letters/{letter.id}")
    page.get_by_role("link", name="Add it there").click()
    expect(box.locator("tr[data-wanted]")).to_contain_text("Roial Mail / 2nd Class")
    assert box.locator("[data-take]:checked").count() == 1, "it alone is chosen"
    viewer = console.open(console.login("viewer"), f"/letters/{letter.id}")
    viewer.get_by_role("link", name="Add it there").click()
    expect(viewer.locator("tr[data-wanted]")).to_be_in_viewport()
    console.open(page, f"/rules/file?path={CARRIERS}&value=<script>Nobody</script>")
    expect(page.locator("[data-nothing-waits]")).to_contain_text("<script>Nobody</script> any more")
    with console.shop.runtime() as runtime, runtime.engine.begin() as connection:
        keys = [*parcels, *others]
        connection.execute(sa.text("DELETE FROM ops.dead_letter WHERE key = ANY(:keys)"), {"keys": keys})
    assert page.problems == viewer.problems == []


def test_a_kind_of_settlement_lines_is_filled_in_on_the_spot_and_its_file_is_read_again(console: Console) -> None:
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState

    with console.shop.runtime() as runtime, runtime.engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO ref.settlement (source, settlement_id, channel, format, file, currency_code, total, "
                "content_hash) VALUES ('amazon_uk', '901', 'Amazon UK', 'amazon_v2', '901.txt', 'GBP', -1.50, 'x')"
            )
        )
        connection.execute(
            sa.text(
                "INSERT INTO ref.settlement_line (source, settlement_id, line_no, position, kind, transaction_type, "
                "amount_type, amount_description, amount, currency_code, posted_at) VALUES ('amazon_uk', '901', '1', "
                "0, 'unknown', 'Order', 'ItemFees', 'Comission', -1.50, 'GBP', '2011-01-07')"
            )
        )
    try:
        page = console.open(console.login("analyst"), "/rules")
        box = page.locator(f'[data-unknown="{KINDS}"]')
        expect(box).to_contain_text("1 settlement line is on Suspense")
        row = box.locator("tr[data-value]")
        expect(row).to_contain_text("* / ItemFees / Commission: commission")
        row.get_by_label("kind for").select_option("commission")
        expect(row.get_by_role("checkbox")).to_be_checked()
        shot(page, "rules_settlement_kinds")
        assert axe(page) == []
        press_preview(page, box)
        confirm(box)
        box.get_by_role("button", name="Publish and replay").click()
        expect(page.locator("#message")).to_contain_text("1 settlement file is read once more", timeout=PATIENCE)
        assert "amazon_v2,Order,ItemFees,Comission,commission," in text_of(console, KINDS)
        with create_session() as session:
            queued = session.scalars(
                sa.select(DagRun).where(DagRun.state == DagRunState.QUEUED, DagRun.dag_id == "payouts")
            ).all()
            assert [run.conf for run in queued] == [{"keys": ["amazon_uk/901.txt"]}]
            for run in queued:
                run.state = DagRunState.SUCCESS
        row.get_by_role("link", name="1 line").click()
        expect(page.get_by_role("heading", name=re.compile("Payout 901"))).to_be_visible()
        assert page.problems == []
    finally:
        with console.shop.runtime() as runtime, runtime.engine.begin() as connection:
            for table in ("settlement_line", "settlement"):
                connection.execute(sa.text(f"DELETE FROM ref.{table} WHERE settlement_id = '901'"))


def prices_at_the_channel(console: Console) -> dict[str, Decimal]:
    with console.shop.runtime() as runtime:
        records = [msgspec.json.decode(one) for page in runtime.channel_advisor.pages("prices") for one in page.records]
    return {record["SKU"]: Decimal(str(record["Price"])) for record in records}


def test_a_margin_is_tried_published_used_by_the_next_run_and_taken_back(console: Console) -> None:
    before = prices_at_the_channel(console)
    page = console.open(console.login("analyst"), f"/rules/file?path={PRICES}")
    margin = page.locator("""[data-place='["defaults","margin"]'] input""")
    expect(margin).to_have_value("48")
    shot(page, "rules_prices")
    assert axe(page) == []
    margin.fill("4x")
    expect(page.locator(".findings")).to_contain_text("defaults.margin is '4x'", timeout=PATIENCE)
    expect(margin).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_role("button", name="Publish", exact=True)).to_be_disabled()
    margin.fill("50")
    bar = page.locator(".publish")
    expect(bar).to_contain_text("1 changed")
    publish = page.get_by_role("button", name="Publish", exact=True)
    expect(publish).to_be_disabled()
    unseen = {"path": PRICES, "values": [{"place": ["defaults", "margin"], "value": "50"}], "message": "Unseen"}
    for more in ({}, {"preview": 999_999}):
        answer = page.evaluate(
            "body => window.crossdock.call('POST /rules/publish', body).then(() => 'published', (e) => e.message)",
            unseen | more,
        )
        assert "Nothing was published." in answer, "the API is held to it, too"
    assert "margin: 48" in text_of(console, PRICES)
    page.problems.clear()  # type: ignore[attr-defined]  # what the browser says of two refusals
    press_preview(page, bar)
    box = page.locator(".effect")
    expect(box).to_contain_text("items would change", timeout=PATIENCE)
    expect(box).not_to_contain_text("not compared yet", timeout=60_000)
    sentence = re.search("([0-9,]+) of ([0-9,]+) items", box.inner_text())
    assert sentence
    changes, items = (int(one.replace(",", "")) for one in sentence.groups())
    (stored,) = console.query("SELECT count(*) AS items FROM stage.price")
    assert items == stored.items, "nothing is left out"
    expect(bar).to_contain_text("Large change.")
    expect(publish).to_be_disabled()
    shot(page, "rules_prices_effect")
    assert axe(page) == []
    would: dict[str, Decimal] = {}
    following = box.get_by_role("button", name="Next")
    for at in range(100):
        rows = box.locator("tbody").evaluate(
            "body => [...body.rows].map((row) => [...row.cells].map((cell) => cell.innerText))"
        )
        would |= {row[0]: Decimal(row[4].replace(",", "")) for row in rows if row[1] == "the product"}
        if at and following.is_disabled():
            break
        following.click()
    assert len(would) == changes > 100
    box.get_by_label("Find in Prices").fill(next(iter(would)))
    expect(box.locator("tbody tr").first).to_contain_text(next(iter(would)))
    assert prices_at_the_channel(console) == before
    confirm(bar)
    expect(publish).to_be_disabled()
    expect(publish).to_have_attribute("title", "Say why, in a sentence.")
    page.locator("#why").fill("Costs have risen")
    publish.click()
    expect(page.locator("#message")).to_contain_text("is in force", timeout=PATIENCE)
    console.shop.sync(flow="prices")
    after = prices_at_the_channel(console)
    waits = {row.key for row in console.query("SELECT key FROM ops.approval WHERE state = 'open'")}  # for a person
    sent = {sku: price for sku, price in would.items() if sku not in waits}
    assert {sku: after[sku] for sku in sent} == sent
    assert len(sent) > 100
    assert all(before[sku] != price for sku, price in would.items())
    history = page.locator("section", has=page.get_by_role("heading", name="Who changed it"))
    expect(history).to_contain_text("Costs have risen")
    history.get_by_text("What it changes").first.click()
    expect(history.locator(".diff").first).to_contain_text("+  margin: 50")
    dialogs: list[str] = []
    page.once("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.accept()))
    history.get_by_role("button", name="Take it back").click()
    expect(page.locator("#message")).to_contain_text("Taken back")
    assert f"{changes:,} of {items:,} would change" in dialogs[0]
    expect(margin).to_have_value("48")
    console.shop.sync(flow="prices")
    assert prices_at_the_channel(console) == before
    assert page.problems == []


def test_a_second_person_agrees_to_what_the_console_asks_consent_for(console: Console) -> None:
    page = console.open(console.login("analyst"), f"/rules/file?path={POSTING}")
    option = page.locator("""[data-place='["options","marketplace_tax"]']""").locator("input, select")
    option.fill("wash") if option.evaluate("one => one.tagName") == "INPUT" else option.select_option("wash")
    expect(page.locator(".publish")).to_contain_text("1 changed")
    press_preview(page, page.locator(".publish"))
    expect(page.locator(".effect")).to_contain_text("documents would change", timeout=PATIENCE)
    shot(page, "rules_posting_effect")
    page.locator("#why").fill("The auditor wants to see it")
    confirm(page.locator(".publish"))
    page.get_by_role("button", name="Propose").click()
    expect(page.locator("#message")).to_contain_text("waits for a second person")
    assert "marketplace_tax: memo" in text_of(console, POSTING)
    console.open(page, "/rules")
    own = page.locator(".proposals li").filter(has_text="The auditor wants")
    expect(own).to_contain_text("Somebody else must agree.")
    expect(own.get_by_role("button", name="Agree and publish")).to_have_count(0)
    other = console.open(console.login("admin"), "/rules")
    waiting = other.locator(".proposals li").filter(has_text="The auditor wants")
    waiting.get_by_role("link", name="Look at it and agree").click()
    expect(other.locator(".diff")).to_contain_text("+  marketplace_tax: wash")
    shot(other, "rules_proposal")
    assert axe(other) == []
    agree = other.get_by_role("button", name="Agree and publish")
    expect(agree).to_be_disabled()
    press_preview(other, other.locator("[data-proposal]"))
    confirm(other.locator("[data-proposal]"))
    shot(other, "rules_proposal_effect")
    agree.click()
    expect(other.locator("#message")).to_contain_text(
        re.compile("is in force with the next task: .+ (is due|runs next at [0-9:]+ UTC)"), timeout=PATIENCE
    )
    expect(other.locator("main")).to_contain_text("Read by")
    assert "marketplace_tax: wash" in text_of(console, POSTING)
    assert page.problems == []
    assert other.problems == []


def test_a_proposal_of_the_command_line_that_needs_nobodys_consent_is_published_here(console: Console) -> None:
    person = Person("shell", frozenset({Role.ANALYST}))
    text = text_of(console, CARRIERS) + "Drone,Fast,Drone,Air\n"
    with console.shop.runtime() as runtime, runtime.engine.begin() as connection:
        version = configuration.propose(connection, person, {CARRIERS: text}, "The drone carrier")
    viewer = console.open(console.login("viewer"), f"/rules/versions/{version.number}")
    expect(viewer.locator(".proposals")).to_contain_text("needs nobody's consent")
    assert viewer.get_by_role("button", name="Publish").count() == 0
    page = console.open(console.login("analyst"), "/rules")
    ready = page.locator("[data-ready] li").filter(has_text="The drone carrier")
    expect(ready).to_contain_text("needs nobody's consent")
    shot(page, "rules_ready")
    ready.get_by_role("link", name="Look at it and publish it").click()
    publish = page.get_by_role("button", name="Publish", exact=True)
    expect(publish).to_be_disabled()
    expect(page.locator("[data-proposal]")).to_contain_text("First look at what would change.")
    press_preview(page, page.locator("[data-proposal]"))
    confirm(page.locator("[data-proposal]"))
    shot(page, "rules_ready_effect")
    assert axe(page) == []
    publish.click()
    expect(page.locator("#message")).to_contain_text(
        re.compile("is in force with the next task: .+ (is due|runs next at [0-9:]+ UTC)"), timeout=PATIENCE
    )
    assert "Drone,Fast,Drone,Air" in text_of(console, CARRIERS)
    (done,) = console.query(
        "SELECT who, detail FROM ops.audit WHERE action = 'configuration publish' "
        f"AND subject = 'version {version.number}'"
    )
    assert (done.who, done.detail["author"], "would change" in done.detail) == ("analyst", "shell", True)
    assert page.problems == viewer.problems == []


def test_nobody_publishes_a_proposal_unseen(console: Console) -> None:
    person = Person("shell", frozenset({Role.ANALYST}))
    with console.shop.runtime() as runtime, runtime.engine.begin() as connection:
        text = text_of(console, CARRIERS) + "Kite,Slow,Kite,Air\n"
        version = configuration.propose(connection, person, {CARRIERS: text}, "The kite carrier")
    page = console.open(console.login("analyst"), f"/rules/versions/{version.number}")
    call = "(path) => crossdock.call(`POST ${path}`, {}).then(() => '', (error) => error.message)"
    refused = page.evaluate(call, f"/rules/versions/{version.number}/publish")
    assert "Look at what would change" in refused
    assert "Kite" not in text_of(console, CARRIERS)


@pytest.mark.parametrize("role", ["viewer", "clerk", "accountant"])
def test_others_look_and_change_nothing(console: Console, role: str) -> None:
    refused_parcels(console, f"Drones of {role}", 1)
    page = console.open(console.login(role), "/rules")
    assert f"Drones of {role}" in rows_of(page, CARRIERS)
    assert page.locator("main input, main select, main button").count() == 0
    for path in (CARRIERS, PRICES):
        console.open(page, f"/rules/file?path={path}")
        expect(page.locator("#panel")).to_contain_text("line" if path == CARRIERS else "margin", ignore_case=True)
        assert (
            page.locator("#panel :is(input:not([type=search]), select, textarea):not([disabled], [readonly])").count()
            == 0
        )
        assert page.get_by_role("button", name="Publish").count() == 0
    assert page.problems == []


def test_what_says_who_may_change_the_others_is_shown_and_stays(console: Console) -> None:
    page = console.open(console.login("analyst"), "/rules/file?path=console.yaml")
    expect(page.locator(".refusal")).to_contain_text("cannot be changed")
    expect(page.locator("#panel")).to_contain_text("roles")
    assert page.get_by_role("button", name="Publish").count() == 0
    assert page.problems == []


def test_rows_are_added_changed_and_removed_in_five_thousand_with_hostile_ones_among_them(console: Console) -> None:
    text = text_of(console, "lookups/item_codes.csv")
    rows = "".join(f"BULK-{n:04},product,,Row {n}\n" for n in range(5_000))
    hostile = f'"{HOSTILE * 20}",product,,"{HOSTILE}"\n'
    publish_elsewhere(console, "somebody", "lookups/item_codes.csv", text + hostile + rows, "Many")
    page = console.open(console.login("analyst"), "/rules/file?path=lookups/item_codes.csv")
    expect(page.locator(".tools")).to_contain_text("5,015 of 5,015 rows")
    page.get_by_label("Find in rows").fill("script")
    expect(page.locator(".tools")).to_contain_text("1 of 5,015 rows")
    shot(page, "rules_grid_hostile")
    assert axe(page) == []
    page.get_by_label("Find in rows").fill("BULK-4321")
    expect(page.get_by_label("code, line")).to_have_value("BULK-4321")
    page.get_by_label("reason, line").fill('changed, "so"')
    page.get_by_label("Find in rows").fill("BULK-1234")
    expect(page.get_by_label("code, line")).to_have_value("BULK-1234")
    page.get_by_role("button", name="Remove line").click()
    page.get_by_role("button", name="Add a row").click()
    page.wait_for_timeout(1_000)  # longer than a check waits for the next key: an empty row is none yet
    expect(page.locator(".findings li")).to_have_count(0)
    expect(page.locator(".publish")).to_contain_text("2 changed")
    new = page.locator("tr[data-at]").last
    new.get_by_label("code, new row").fill("NEW-1")
    expect(page.locator(".findings")).to_contain_text("action", timeout=PATIENCE)
    expect(new.get_by_label("code, new row")).to_have_attribute("aria-invalid", "true")
    shot(page, "rules_grid_finding")
    new.get_by_label("action, new row").select_option("product")
    expect(page.locator(".findings li")).to_have_count(0, timeout=PATIENCE)
    expect(page.locator(".publish")).to_contain_text("3 changed")
    page.locator("#why").fill("By hand")
    press_preview(page, page.locator(".publish"))
    confirm(page.locator(".publish"))
    page.get_by_role("button", name="Publish", exact=True).click()
    expect(page.locator("#message")).to_contain_text("is in force", timeout=PATIENCE)
    before, after = (text + hostile + rows).splitlines(), text_of(console, "lookups/item_codes.csv").splitlines()
    assert [one for one in before if one not in after] == ["BULK-1234,product,,Row 1234", "BULK-4321,product,,Row 4321"]
    assert [one for one in after if one not in before] == ['BULK-4321,product,,"changed, ""so"""', "NEW-1,product,,"]
    assert page.problems == []


def test_a_draft_goes_from_the_form_to_the_text_and_back(console: Console) -> None:
    page = console.open(console.login("analyst"), f"/rules/file?path={PRICES}")
    page.locator("""[data-place='["defaults","margin"]'] input""").fill("51")
    page.get_by_label("Add to categories").fill("Toys")
    page.get_by_role("button", name="Add", exact=True).first.click()
    page.locator("""[data-place='["categories","Toys","margin"]'] input""").fill("40")
    page.get_by_role("tab", name="Text").click()
    area = page.get_by_role("textbox", name="Text of prices.yaml")
    expect(area).to_have_value(
        text_of(console, PRICES).replace("margin: 48", "margin: 51").replace(
            '  "Seasonal*": {margin: 45}\n', '  "Seasonal*": {margin: 45}\n  Toys:\n    margin: 40\n'
        )
    )  # fmt: skip
    area.fill(area.input_value().replace("map: 60", "map: sixty"))
    expect(page.locator(".findings")).to_contain_text("Line 25", timeout=PATIENCE)
    shot(page, "rules_text")
    assert axe(page) == []
    page.get_by_role("tab", name="Form").click()
    expect(page.locator("""[data-place='["defaults","map"]'] .finding""")).to_contain_text("sixty")
    page.locator("""[data-place='["defaults","map"]'] input""").fill("61")
    expect(page.locator(".findings li")).to_have_count(0, timeout=PATIENCE)
    page.get_by_role("button", name="Discard").click()
    expect(page.locator("""[data-place='["defaults","margin"]'] input""")).to_have_value("48")
    assert page.problems == []


def test_somebody_elses_change_of_the_same_file_is_not_written_over(console: Console) -> None:
    page = console.open(console.login("analyst"), f"/rules/file?path={PRICES}")
    page.locator("""[data-place='["defaults","margin"]'] input""").fill("55")
    text = text_of(console, PRICES)
    press_preview(page, page.locator(".publish"))
    confirm(page.locator(".publish"))
    publish_elsewhere(console, "quicker", PRICES, text.replace("margin: 48", "margin: 49"), "Quicker")
    page.locator("#why").fill("Slower")
    page.get_by_role("button", name="Publish", exact=True).click()
    expect(page.locator("#message")).to_contain_text("has been changed meanwhile")
    page.get_by_role("button", name="What would change").click()
    expect(page.locator("#main")).to_contain_text("has been changed meanwhile")
    console.open(page, f"/rules/file?path={PRICES}")
    expect(page.locator(".head")).to_contain_text("The text in force was changed here, by version")
    assert "margin: 49" in text_of(console, PRICES)


def test_every_file_opens_in_the_dark_and_on_a_phone(console: Console) -> None:
    refused_parcels(console, "Paper Plane", 2)
    dark = console.login("analyst", color_scheme="dark")
    phone = console.login("analyst", **PHONE)
    for page, name in ((dark, "dark"), (phone, "phone")):
        for path, shown in (
            ("/rules", "list"),
            (f"/rules/file?path={CARRIERS}", "grid"),
            ("/rules/file?path=sites.yaml", "form"),
        ):
            console.open(page, path)
            shot(page, f"rules_{shown}_{name}")
            assert axe(page) == [], (path, name)
            width = page.evaluate("document.documentElement.scrollWidth")
            assert width <= (390 if page is phone else 1280), (path, name)
        assert page.problems == []
    page = console.login("analyst")
    with console.shop.runtime() as runtime, runtime.engine.connect() as connection:
        paths = [one.path for one in configuration.files(connection) if one.path.endswith((".yaml", ".csv"))]
    for path in paths:
        if not path.startswith("mappings/"):
            console.open(page, f"/rules/file?path={path}")
            expect(page.locator("#panel > *").first).to_be_visible()
            expect(page.locator(".findings li")).to_have_count(0, timeout=PATIENCE)
    assert page.problems == []

"""The configuration of the rules says what is wrong with it, and where."""

from __future__ import annotations

import shutil

import pytest

from crossdock.errors import ConfigError
from crossdock.rules.settings import Site, load
from crossdock.settings import config_dir


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "lookups").mkdir()
    shutil.copy(config_dir() / "sites.yaml", tmp_path)
    for name in ("item_codes", "countries", "regions"):
        shutil.copy(config_dir() / "lookups" / f"{name}.csv", tmp_path / "lookups")
    return tmp_path


def test_the_shipped_configuration_is_sound():
    settings = load()
    assert settings.site(640).channel == "Amazon US"
    assert settings.site(424242) == Site(relay_domains=settings.default.relay_domains) == settings.default
    assert (settings.shared_above, "none@*" in settings.nobodys_mail) == (5, True)
    assert settings.countries["EIRE"] == ("IE",)
    assert {c.code: c.action for c in settings.item_codes}["POST"] == "shipping"


def test_a_site_takes_what_it_does_not_say_from_the_defaults(folder):
    (folder / "sites.yaml").write_text("defaults: {import_rule: always}\nsites: {7: {channel: Seven}, 8: }\n")
    settings = load(folder)
    assert settings.site(7) == Site(channel="Seven", import_rule="always")
    assert settings.site(8).import_rule == "always"


def test_a_changed_file_is_read_again(folder):
    assert load(folder).site(7).channel is None
    (folder / "sites.yaml").write_text("sites: {7: {channel: Seven}}\n")
    assert load(folder).site(7).channel == "Seven"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sites: {7: {chanel: X}}", "sites.yaml:1: sites.7 has no word 'chanel'; did you mean 'channel'?"),
        ("site: {}", "did you mean 'sites'?"),
        ("sites: {7: {import_rule: never}}", "import_rule is 'never'; write one of hold, always, only_paid"),
        ("sites: {7: {guests: account}}", "guest_account is missing"),
        ("sites: {7: {location: 5}}", "location is 5"),
        ("sites: {7: {relay_domains: x.com}}", "should be a list"),
        ("sites: {7: {country: England}}", "no country of ISO 3166"),
        ("sites: {7: {country: NO}}", "in quotes"),
        ("contacts: {shared_above: 0}", "a number of buyers above 0"),
        ("contacts: {shared: 3}", "did you mean 'shared_above'?"),
        ("contacts: {nobodys_mail: [noreply]}", "noreply@*"),
        ("sites: {seven: {}}", "sites has 'seven'; write the number of a site"),
        ("sites: {7: [1]}", "sites.7 should be"),
        ("sites: [1]", "sites"),
        ("- 1", "`defaults`, `contacts`, `sites`"),
        ("sites: {", "this is not YAML"),
    ],
)
def test_a_broken_sites_file_is_one_clear_sentence(folder, text, message):
    (folder / "sites.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(folder)
    assert message in str(caught.value)
    assert "sites.yaml" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("code,action,item,reason\nX,shiping,,r\n", "did you mean 'shipping'?"),
        ("code,action,item,reason\nX,voucher,,r\n", "names the item"),
        ("code,action,item,reason\nX,shipping,ITEM,r\n", "names the item"),
        ("code,action,item,reason\nX,reject,,\n", "needs a reason"),
        ("code,action\nX,reject\n", "the header must be code,action,item,reason"),
    ],
)
def test_a_broken_list_of_codes_is_one_clear_sentence(folder, text, message):
    (folder / "lookups" / "item_codes.csv").write_text(text)
    with pytest.raises(ConfigError, match=r"item_codes\.csv") as caught:
        load(folder)
    assert message in str(caught.value)


def test_a_missing_file_says_so(folder):
    (folder / "sites.yaml").unlink()
    with pytest.raises(ConfigError, match=r"sites\.yaml is missing"):
        load(folder)

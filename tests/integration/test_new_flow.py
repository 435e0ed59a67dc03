"""`crossdock new-flow` makes a flow that runs as it is: in a copy of the project, against the sandbox."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from crossdock.dev import new_flow
from crossdock.dev.new_flow import Wanted
from crossdock.errors import ConfigError
from integration.environment import fresh_database
from project_copy import ProjectCopy, project_copy

pytestmark = pytest.mark.slow
IN_TIMS = {  # of flows whose target is TIMS: what they write, and where
    "boxes": ("tims/AdjustmentCreate", "inventory/adjustments/{SKU}"),
    "owners": ("tims/CustomerPatch", "customers/{SKU}"),
}
LABELS = Wanted("labels", "tims/inventory/items", "channel_advisor/ProductUpdate", "products/{SKU}")
RUN = '''
"""The flow as it was made, on both systems."""

from integration.bustle import ALL
from integration.environment import found_environment


def test_it_runs(postgres_url, tmp_path):
    with found_environment(postgres_url, "made", tmp_path, skus=ALL) as environment:
        first = environment.sync(flow="labels")
        assert first.delivered > 5, first
        assert first.dead == len(environment.letters()), first  # items that are no product there
        assert all(reason["do"] for letter in environment.letters().values() for reason in letter.reasons)
        assert environment.sync(flow="labels").delivered == 0
        assert environment.sync(flow="labels", kind="sweep", reprocess=True).delivered == 0
        titles = {one["SKU"]: one["Title"] for one in environment.channel_advisor.documents("product")}
        items = {one["SKU"]: one["Title"] for one in environment.in_tims("inventory/items")}
        assert {titles[sku] == items[sku] for sku in titles.keys() & items.keys()} == {True}
        for flow in ("boxes", "owners"):  # their placeholders name no location and no customer
            counts = environment.sync(flow=flow)
            assert (counts.read > 5, counts.dead) == (True, counts.read), counts
'''


@pytest.fixture(scope="module")
def copy(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProjectCopy]:
    with fresh_database(postgres_url, "new_flow") as url:
        yield project_copy(tmp_path_factory.mktemp("project") / "crossdock", url)


def test_a_flow_that_is_made_is_clean_and_runs_and_is_not_made_twice(copy: ProjectCopy) -> None:
    words = ["new-flow", LABELS.name, "--from", LABELS.source, "--to", LABELS.target, "--path", LABELS.path]
    wrote = json.loads(copy.crossdock(*words, "--json"))["written"]
    assert len(wrote) == 10
    for name, (target, path) in IN_TIMS.items():
        more = ["new-flow", name, "--from", LABELS.source, "--to", target, "--path", path, "--json"]
        wrote += json.loads(copy.crossdock(*more))["written"]
    assert all((copy.folder / path).is_file() for path in wrote), wrote
    python = [path for path in wrote if path.endswith(".py")]
    copy.run("-m", "ruff", "check", *python)
    copy.run("-m", "ruff", "format", "--check", *python)
    copy.crossdock("mapping", "check")
    (copy.folder / "tests/integration/test_made.py").write_text(RUN)
    found = ["tests/integration/test_made.py", "tests/integration/test_labels.py", "tests/unit/test_flows.py"]
    copy.run("-m", "pytest", "-q", "-p", "no:cacheprovider", *found)
    assert "There is a flow labels already" in copy.crossdock(*words, code=2)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (Wanted("Labels", *LABELS[1:]), "no name for a flow"),
        (Wanted("class", *LABELS[1:]), "no name for a flow"),
        (Wanted("labels", "tims/inventory/item", *LABELS[2:]), "did you mean 'tims/inventory/items'"),
        (Wanted("labels", LABELS.source, "tims/Itm", LABELS.path), "has no schema 'Itm'"),
        (Wanted(*LABELS[:3], "products/{Sku}"), "did you mean 'SKU'"),
        (Wanted(*LABELS[:3], "products"), "one field of Item"),
        (Wanted("labels", "channel_advisor/returns", *LABELS[2:]), "returns is in include/crossdock/reference"),
        (Wanted(*LABELS[:2], "tims/InvoiceCreate", "ar/invoices/{SKU}"), "or has lines"),
        (Wanted(*LABELS[:2], "tims/CustomerCreate", "customers/{SKU}"), "no ExternalReference"),
        (Wanted("orders", *LABELS[1:]), "There is a flow orders already"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_nearest(wanted: Wanted, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        new_flow.make(wanted)

"""Migrations are made of mappings and tables: nothing where nothing is missing, else what is missing and no more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from crossdock.dev import revision
from crossdock.errors import ConfigError
from crossdock.store import database
from integration.environment import fresh_database
from project_copy import ProjectCopy, project_copy

pytestmark = pytest.mark.slow
VERSIONS = "include/crossdock/store/migrations/versions"
CONTRACT = "include/contracts/tims.yaml"
INVOICE = "include/config/mappings/invoice.yaml"


@pytest.fixture(scope="module")
def copy(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProjectCopy]:
    with fresh_database(postgres_url, "revision") as url:
        yield project_copy(tmp_path_factory.mktemp("project") / "crossdock", url)


@pytest.mark.parametrize("message", ["", "1", 'with "quotes"', "a\\b", "x" * 101])
def test_a_message_that_says_nothing_is_refused(postgres_url: str, message: str) -> None:
    with pytest.raises(ConfigError, match="a sentence of at most 100 characters"):
        revision.revise(postgres_url, message)


def test_a_new_field_and_a_new_table_get_their_migration_by_the_command_that_the_check_names(copy: ProjectCopy) -> None:
    copy.replace(
        CONTRACT, "        DueDate: {$ref:", "        Remark: {type: string, maxLength: 100},\n        DueDate: {$ref:"
    )
    copy.replace(INVOICE, "children:\n", "  - {target: Remark, constant: paid}\n\nchildren:\n")
    copy.replace(
        "include/crossdock/store/tables.py",
        "ops_control = Table(\n",
        'stage_parcel = stage_table("parcel", mapping="shipment", comment="One parcel")\n'
        'stage_secret = stage_table("secret", mapping="shipment", comment="One secret", personal=True)\n'
        'raw_parcels = _raw("tims_parcels", "One version of one parcel")\n\n'
        "ops_control = Table(\n",
    )
    reported = " ".join(copy.crossdock("mapping", "check", code=2).split())
    assert "Remark has no column yet, so it cannot be sent" in reported
    assert "a developer makes it with `crossdock db revision -m 'Remark of invoice'`" in reported
    before = {path.name for path in (copy.folder / VERSIONS).glob("*.py")}

    wrote = copy.crossdock("db", "revision", "-m", "Remark of invoice, parcels and secrets")
    (name,) = {path.name for path in (copy.folder / VERSIONS).glob("*.py")} - before
    assert name in wrote
    number = int(max(before)[:4]) + 1
    assert name.startswith(f"{number:04}_remark_of_invoice_")
    text = (copy.folder / VERSIONS / name).read_text()
    assert text.startswith('"""Remark of invoice, parcels and secrets."""\n')
    assert f'down_revision = "{number - 1:04}"' in text
    assert 'op.add_column("invoice", sa.Column("Remark", sa.Text(), nullable=True), schema="stage")' in text
    assert 'op.drop_column("invoice", "Remark", schema="stage")' in text
    assert (text.count("op.create_table("), text.count("op.add_column("), text.count("op.execute(")) == (3, 1, 2), text
    assert text.count("ALTER TABLE raw.tims_parcels ALTER COLUMN payload SET COMPRESSION lz4") == 1
    copy.run("-m", "ruff", "check", f"{VERSIONS}/{name}")
    copy.run("-m", "ruff", "format", "--check", f"{VERSIONS}/{name}")

    copy.crossdock("db", "migrate")
    engine = database.engine(copy.database_url)
    with engine.connect() as connection:  # as the loader, who needs no grant by hand
        for table in ("invoice", "parcel", "secret"):
            assert connection.execute(sa.text(f"DELETE FROM stage.{table}")).rowcount == 0
        readable = sa.text("SELECT has_table_privilege('crossdock_reader', :name, 'SELECT')")
        assert connection.scalar(readable, {"name": "stage.parcel"}) is True
        assert connection.scalar(readable, {"name": "stage.secret"}) is False
    engine.dispose()
    assert "Nothing is missing" in copy.crossdock("db", "revision", "-m", "Once more")


def test_a_mapping_that_is_broken_stops_no_import_and_is_named(copy: ProjectCopy) -> None:
    (copy.folder / INVOICE).write_text("fields: [\n")
    assert "There is no flow 'nothing'" in copy.crossdock("sync", "nothing", code=2)  # the flows are found
    assert "invoice.yaml" in copy.crossdock("db", "revision", "-m", "With a broken mapping", code=2)

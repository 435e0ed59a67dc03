"""Makes a new flow: a package, mapping, suite, DAG file and tests that run as they are.

In: a name, a list that is read already, a document of the target and how it is written. Out: files, and what to do
next. Never: a file that is there changed.
"""

from __future__ import annotations

import importlib
import json
import keyword
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from crossdock import flows
from crossdock.config.suggest import did_you_mean
from crossdock.errors import ConfigError
from crossdock.flow import SOURCE, Resource
from crossdock.mapping import contracts
from crossdock.mapping.contracts import Document, Field
from crossdock.settings import PROJECT

TITLES = {"tims": "TIMS", "channel_advisor": "Channel Advisor"}
MASTERS = ("tims", "channel")  # modules of `crossdock.reference` that have lists
PLACEHOLDER = {"moment": "2011-01-01T00:00:00Z", "date": "2011-01-01", "integer": 1, "boolean": False}
_PATH = re.compile(r"\{(\w+)\}")


class Wanted(NamedTuple):
    """What a person asks for. `source`: system/list; `target`: system/document; `path`: where a record is written, with
    a field of the source in braces."""

    name: str
    source: str
    target: str
    path: str


def make(wanted: Wanted, project: Path = PROJECT) -> list[Path]:
    """Writes the files of the flow. Raises ConfigError for what is there, is not known or cannot be written."""
    found = _Found.of(wanted)
    files = dict(_files(wanted, found))
    taken = [path for path in files if (project / path).exists()]
    if taken or (project / f"include/crossdock/flows/{wanted.name}").exists():
        raise ConfigError(
            f"There is a flow {wanted.name} already: {taken[0] if taken else 'its package is there'}.",
            do="Choose another name.",
        )
    for path, text in files.items():
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_text(text, encoding="utf-8")
    return [Path(path) for path in files]


NEXT = """\
include/config/mappings/{name}.yaml: say what goes where; `crossdock mapping check` holds it to both contracts
include/crossdock/flows/{name}/: say what is sent at all (`judge`), and what a person should do about a refusal
crossdock db revision -m "..." where the mapping or the table has got other columns; crossdock db migrate
make docs: the pages, README's table, the order of the close
tests/integration/made/{name}.py: say how a record is made; pytest tests/integration/test_battery.py -k {name}
"""


def what_next(name: str) -> list[str]:
    """What is left to do, a line each."""
    return NEXT.format(name=name).splitlines()


# ---- what is asked for -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Found:
    module: str  # of crossdock.reference
    attribute: str  # name of the Resource there
    resource: Resource
    source: Document
    target: Document
    field: str  # of the source, in the path
    maker: tuple[str, str] | None  # package and flow whose tests make such a record

    @classmethod
    def of(cls, wanted: Wanted) -> _Found:
        """What the words mean. Raises ConfigError with the nearest right ones."""
        if not re.fullmatch(r"[a-z][a-z0-9_]{2,30}", wanted.name) or keyword.iskeyword(wanted.name):
            raise ConfigError(
                f"{wanted.name!r} is no name for a flow.", do="Use small letters, digits and _, e.g. holds."
            )
        lists = {resource.name.replace(".", "/", 1): at for *at, resource in _lists()}
        if wanted.source not in lists:
            near = did_you_mean(wanted.source, lists) or "."
            raise ConfigError(
                f"No list {wanted.source} is in include/crossdock/reference{near}",
                do=f"Name one of {', '.join(lists)}; a list that only one flow reads moves there first.",
            )
        module, attribute = lists[wanted.source]
        resource = getattr(importlib.import_module(f"crossdock.reference.{module}"), attribute)
        system, _, name = wanted.target.partition("/")
        target, source = contracts.document(system, name), contracts.document(resource.contract, resource.document)
        if _is_new(target) and ("ExternalReference" not in target.leaves or "Lines" in target.fields):
            raise ConfigError(
                f"{target.name} has no ExternalReference of ours, or has lines: there is no pattern for it.",
                do="Write it by hand, like include/crossdock/flows/invoices.",
            )
        fields = _PATH.findall(wanted.path)
        if len(fields) != 1 or fields[0] not in source.leaves:
            wrong = fields[0] if fields else wanted.path
            raise ConfigError(
                f"--path needs one field of {source.name} in braces, not {wrong!r}"
                f"{did_you_mean(wrong, source.leaves) or '.'}",
                do="Write it like orders/{ExternalOrderID}.",
            )
        packages = flows.packages()
        like = [
            (packages[one.name], one.name) for one in flows.all_flows().values() if one.source.name == resource.name
        ]
        return cls(module, attribute, resource, source, target, fields[0], like[0] if like else None)


def _is_new(target: Document) -> bool:
    """Whether each record makes a new document of TIMS."""
    return target.system == "tims" and target.name.endswith("Create")


def _lists() -> Iterator[tuple[str, str, Resource]]:
    for name in MASTERS:
        for attribute, value in vars(importlib.import_module(f"crossdock.reference.{name}")).items():
            if isinstance(value, Resource) and not value.single:
                yield name, attribute, value


# ---- what is written -------------------------------------------------------------------------------------------------


def _files(wanted: Wanted, found: _Found) -> Iterator[tuple[str, str]]:
    name, title = wanted.name, _title(wanted.name)
    words = {
        "name": name, "title": title, "NAME": name.upper(), "document": found.source.name, "target": found.target.name,
        "source_system": found.resource.system, "target_system": found.target.system, "field": found.field,
        "from_": TITLES.get(found.resource.system, found.resource.system), "to": TITLES[found.target.system],
        "list": found.resource.path, "module": found.module, "attribute": found.attribute,
        "path": wanted.path.replace("{" + found.field + "}", "{segment(row['target_key'])}"),
        "resource": wanted.path.replace("/{" + found.field + "}", ""),
        "id_field": found.target.name.removesuffix("Create") + "ID",
    }  # fmt: skip
    load = _LOAD_NEW if _is_new(found.target) else _LOADS[found.target.system]
    package = f"include/crossdock/flows/{name}"
    yield f"{package}/__init__.py", _PACKAGE.format(**words)
    yield f"{package}/tables.py", _TABLES.format(**words)
    yield f"{package}/transform.py", _TRANSFORM.format(**words)
    yield f"{package}/load.py", load.format(**words)
    yield f"include/config/mappings/{name}.yaml", _mapping(wanted, found, words)
    yield f"include/config/checks/{name}.yaml", _SUITE.format(**words)
    yield f"dags/{name}.py", _DAG.format(**words)
    package_of, other = found.maker or (name, name)
    made = _MADE if found.maker else _MADE_ALONE
    yield f"tests/integration/made/{name}.py", made.format(**words, package=package_of, other=other)
    yield f"tests/integration/test_{name}.py", _TEST.format(**words)


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _mapping(wanted: Wanted, found: _Found, words: dict[str, str]) -> str:
    """A table that the check passes: fields of one name and type go over, what must be there has a placeholder."""
    fields = {path: _entry(path, field, found.source) for path, field in found.target.leaves.items()}
    if _is_new(found.target):
        fields["ExternalReference"] = f'from: {found.field}, convert: {{begin with: "{wanted.name}:"}}'
        fields["Source"] = f"constant: {SOURCE}"
    required = {path for path in found.target.leaves if found.target.must_have(path)}
    if not any(entry or path in required for path, entry in fields.items()):
        required = {min(fields, key=lambda path: bool(found.target.leaves[path].codes))}  # a word that says nothing
    lines = [
        f"  - {{target: {path}, {entry or _placeholder(found.target.leaves[path])}}}"
        for path, entry in fields.items()
        if entry or path in required
    ]
    rest = [f"  {path}: Not decided yet." for path, entry in fields.items() if not entry and path not in required]
    text = _MAPPING.format(**words, fields="\n".join(lines))
    return text + ("\nnot_sent:\n" + "\n".join(rest) + "\n" if rest else "")


def _entry(path: str, field: Field, source: Document) -> str:
    """`from` a field of the same name that the check accepts; "" where there is none."""
    same = source.leaves.get(path)
    if (
        same is None
        or (same.type, same.money) != (field.type, field.money)
        or set(same.codes) - set(field.codes or same.codes)
    ):
        return ""
    return f"from: {path}"


def _placeholder(field: Field) -> str:
    value = field.codes[0] if field.codes else "1.00" if field.money else PLACEHOLDER.get(field.type, "To be said")
    return f"constant: {json.dumps(value)}"


_PACKAGE = '''"""{title}: {from_}'s {list} -> {to}'s {target}.

What makes it special: to be said. In: records of {from_}. Out: {target}. Never: to be said.
"""

from __future__ import annotations

from crossdock.flow import Flow
from crossdock.flows.{name} import load, transform
from crossdock.flows.{name}.tables import STAGE
from crossdock.reference import {module}

FLOWS = (
    Flow(
        name="{name}",
        title="{title}",
        entity="{name}",
        source={module}.{attribute},
        target="{target_system}",
        stage=STAGE,
        mappings=("{name}",),
        transform=transform.transform,
        suite="{name}",
        load=load.load,
        follows=("orders",),
    ),
)
'''

_TABLES = '''"""The stage table of {name}: the target paths of its mapping, and what else a row keeps."""

from sqlalchemy import Column, Text

from crossdock.store.registry import stage_table

STAGE = stage_table(
    "{name}",
    Column("target_key", Text, comment="{field}: the record of {to} that is written"),
    mapping="{name}",
    comment="One record of {name} as {to} should have it",
)
'''

_TRANSFORM = '''"""Stages each record: the mapping makes the document, `judge` decides whether it is sent."""

from __future__ import annotations

import pandas as pd
import sqlalchemy as sa

from crossdock.flows import plain
from crossdock.flows.{name}.tables import STAGE


def judge(connection: sa.Connection, source: pd.DataFrame) -> pd.DataFrame:
    """Sends each record that names its {field}."""
    return plain.everything(connection, source).assign(target_key=source["{field}"].astype("str"))


transform = plain.by_mapping(STAGE, judge)
'''

_LOAD = '''"""Sends each row by a single call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crossdock.flows import plain
from crossdock.keys import segment

if TYPE_CHECKING:
    from crossdock.runtime import Runtime

ADVICE = "Compare the record in {from_} with the one in {to}; correct the wrong one, then replay this."


def send(runtime: Runtime, row: dict[str, Any], body: bytes) -> str:
    """Writes one record."""
    runtime.{target_system}.call("PUT", f"/v2/{path}", body)
    return str(row["target_key"])


load = plain.one_by_one(ADVICE, send)
'''

_LOAD_TIMS = '''"""Sends each row by a single call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crossdock.flows import plain
from crossdock.keys import segment

if TYPE_CHECKING:
    from crossdock.runtime import Runtime

ADVICE = "Compare the record in {from_} with the one in TIMS; correct the wrong one, then replay this."


def send(runtime: Runtime, row: dict[str, Any], body: bytes) -> str:
    """Changes one record."""
    plain.change_in_tims(runtime, f"{path}", body)
    return str(row["target_key"])


load = plain.one_by_one(ADVICE, send)
'''

_LOAD_NEW = '''"""Creates documents in bulk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossdock.flow import Flow
from crossdock.steps.load import Kind, post_documents

if TYPE_CHECKING:
    from crossdock.runtime import Runtime

KIND = Kind("{name}", "{resource}", "{id_field}")
ADVICE = "Correct the record in {from_} or this payload, then replay it."


def load(runtime: Runtime, flow: Flow, batch_id: int) -> None:
    """Creates the documents that have no link yet."""
    post_documents(runtime, flow, batch_id, KIND, ADVICE)
'''
_LOADS = {"channel_advisor": _LOAD, "tims": _LOAD_TIMS}

_MAPPING = """# How a record of {name} is made. docs/MAPPINGS.md is made of it, with the contracts' types.
mapping: How {document} of {from_} becomes {target} of {to}
source: {source_system} {document}
target: {target_system} {target}

fields:
{fields}
"""

_SUITE = """# What must be true of a record of {name} before it is sent.
suite: A record of {name} before it is sent to {to}
target: {target_system} {target}
key: target_key

given: {{head: {{target_key: the record of {to} that is written}}}}

contract:
  missing:
    rule: missing_field
    says: "{{field}} is missing; {to} needs it."
    do: Correct the record in {from_} or edit this payload, then replay it.
  too_long:
    rule: text_too_long
    says: "{{field}} is longer than {to} takes: {{value}}"
    do: Shorten it in {from_} or edit this payload, then replay it.
  unknown_code:
    rule: unknown_code
    says: '{{field}} is "{{value}}", which {to} does not know.'
    do: Correct the mapping or its lookup, then replay it.

head_rules:
  - expect: column_values_to_not_be_null
    column: target_key
    rule: no_target
    says: The record does not say which record of {to} it is about.
    do: Correct {field} in {from_}; then replay it.
"""

_DAG = '''"""
### {title}: {from_} → {to}

**Reads** {list} of {from_} changed since the watermark.
**Writes** {target} to {to}, what differs from what was sent last.

**By hand:** *Trigger* with *From*/*To* reads a window, with *Keys* single records. *Backfill* reads past intervals.
Neither moves the watermark, and neither does anything twice.

**When a task has failed:** read the last line of its log; it says what to do. Then clear the task.
"""

from airflow.sdk import dag

from crossdock_airflow.tasks import asked_by_hand, every, five_steps


@dag(
    description="{list} of {from_} → {to}",
    schedule=every("*/10 * * * *"),
    **asked_by_hand(__doc__, "{name}", "{source_system}", "{target_system}"),
)
def {name}():
    five_steps("{name}", source="{source_system}", target="{target_system}")


{name}()
'''

_MADE = '''"""How a record of the flow {name} is made."""

from integration.battery import Made
from integration.made.{package} import MADE as OTHERS

MADE = {{"{name}": Made(OTHERS["{other}"].make)}}
'''

_MADE_ALONE = '''"""How a record of the flow {name} is made."""

from integration.battery import Made, Shop


def changed(shop: Shop) -> None:
    """Makes a record of {list} that the flow has to work."""
    raise NotImplementedError("say how {list} of {from_} get a record that is worked")


MADE = {{"{name}": Made(changed)}}
'''

_TEST = '''"""{title}: what the battery cannot know of them."""

from __future__ import annotations

from crossdock import flows


def test_the_flow_is_found_with_its_table_and_mapping() -> None:
    flow = flows.get("{name}")
    assert (flow.stage.fullname, flow.mappings, flow.suite) == ("stage.{name}", ("{name}",), "{name}")
'''

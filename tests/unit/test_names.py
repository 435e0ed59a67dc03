"""Names say what the field says: no identifier of the project is one of the words that were given up.

A word that is fine elsewhere (`stock` of an item, `bulk` of TIMS's API) is given up in the modules of its old sense
only.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from crossdock.settings import PROJECT

FOLDERS = ("include", "plugins", "dags", "benchmarks", "tests")

# The word given up -> the field's word.
EVERYWHERE = {
    "wake": "requeue", "amiss": "find_drift", "look": "snapshot_target", "ahead": "prefetch",
    "checked": "enrich_for_checks", "configured": "validate_config",
    "masters": "reference", "read_master": "refresh_reference", "afresh": "full_refresh",
    "Head": "RecordKey", "head": "read_key, or header of a document",
    "bury": "dead_letter", "went_through": "close_resolved", "reapply": "merge_edit", "carry_edits": "edits_to_carry",
    "settle": "record_outcomes", "walk": "run_batches", "AFTER_EXTRACT": "STEPS",
    "told": "sent", "tell": "send", "says": "message", "said": "reported",
    "claim": "reassign", "adopt": "reclaim_stale", "take_over": "transfer", "merged": "finish_reference_batch",
    "flow_of": "get", "cut": "truncated", "is_cut": "is_truncated",
    "agreed": "in_sync", "undecided": "pending", "left_out": "skipped", "idle": "skip_reason", "twofold": "ambiguous",
    "whose": "order_fingerprint", "Flying": "InFlight",
    "MEND": "ADVICE", "AGAIN": "FORCED_KINDS", "ONCE": "NEVER_REPEAT", "VISIBLE": "READ_LAG",
    "MIRROR": "REVERSAL_SUFFIX",
    "leaving_room": "low_priority", "bulk_bit": "bulk_burst", "Lost": "AttemptFailed", "Send": "PreparedRequest",
    "astray": "endless_list", "books": "settlement_ledger", "misfits": "mapping_errors", "spots": "price_targets",
    "Present": "ChannelPrice", "Held": "ChannelProduct",
    "ASK": "RUN_PARAMS", "asked": "window_of", "common": "dag_defaults",
    "known": "reference_data", "uniques": "vectorize", "stock_rules": "offer_settings", "stock_movements": "movements",
    "town": "environment", "shelf": "stock_oracle, or repository", "desk": "ledger_env", "trade": "builders",
    "rush": "oversell", "lives": "order_histories", "truth": "expectations", "scene": "actor_context",
}  # fmt: skip

# Where a word that has a good use elsewhere is given up: word -> (modules, the field's word).
IN_MODULES = {
    "bulk": (r"crossdock/(flow|flows/.*|steps/extract|systems/budget|systems/http|runtime)\.py", "low_priority"),
    "place": (r"crossdock/(systems/(budget|http)|runtime)\.py", "slot"),
    "places": (r"crossdock/systems/(budget|http)\.py|sandbox/(buyers|world|expectations)\.py", "slots, or addresses"),
    "stage": (r"sandbox/.*\.py|benchmarks/(month|scheduler)\.py", "processes"),
}
MODULES = {  # names of modules that are given up in a folder
    "crossdock/rules": ("changes", "known", "uniques", "stock", "stock_rules", "stock_movements"),
    "crossdock/flows": ("masters", "channel_masters"),
    "crossdock/steps": ("walk",),
    "crossdock/store": ("books",),
    "sandbox": ("lives", "stage", "truth", "places"),
    "sandbox/actors": ("scene",),
    "sandbox/channel_advisor": ("shelf",),
    "tests/integration": ("town", "shelf", "desk", "trade", "rush"),
}

# Names of others, called by their owner.
FOREIGN = {("attr", "head"), ("attr", "walk"), ("attr", "tell")}  # pandas, os and ast, files

FILES = sorted(path for folder in FOLDERS for path in (PROJECT / folder).rglob("*.py"))


def identifiers(tree: ast.AST) -> Iterator[tuple[int, str, str]]:
    """(line, kind, name) of every name that the code gives or uses."""
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        match node:
            case ast.Name(id=name):
                yield line, "name", name
            case ast.Attribute(attr=name):
                yield line, "attr", name
            case ast.arg(arg=name):
                yield line, "parameter", name
            case ast.keyword(arg=str(name), value=value):
                yield value.lineno, "argument", name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield line, "definition", name
            case ast.alias(name=name, asname=other):
                yield from ((line, "import", part) for part in (*name.split("."), other) if part)
            case ast.ImportFrom(module=str(module)):
                yield from ((line, "import", part) for part in module.split("."))
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield line, "name", name
            case ast.MatchClass(kwd_attrs=names) | ast.Global(names=names) | ast.Nonlocal(names=names):
                yield from ((line, "name", name) for name in names)


def given_up(path: str, source: str) -> list[str]:
    """What is wrong in a file, each with its line and the word to use."""
    here = EVERYWHERE | {word: new for word, (where, new) in IN_MODULES.items() if re.search(where + "$", path)}
    return [
        f"{path}:{line}: {name} is {here[name.strip('_')]} now"
        for line, kind, name in identifiers(ast.parse(source))
        if name.strip("_") in here and (kind, name) not in FOREIGN
    ]


def test_no_identifier_is_a_word_that_was_given_up():
    found = [each for path in FILES for each in given_up(str(path.relative_to(PROJECT)), path.read_text("utf-8"))]
    assert found == []


def test_no_module_is_named_by_a_word_that_was_given_up():
    names = {(path.parent.relative_to(PROJECT).as_posix().removeprefix("include/"), path.stem) for path in FILES}
    assert names.isdisjoint({(folder, name) for folder, each in MODULES.items() for name in each})


@pytest.mark.parametrize(
    "source",
    ["told = 1", "def wake(): ...", "a.misfits", "f(says=1)", "def f(idle): ...", "from crossdock.flows import masters",
     "import integration.town", "class Lost(Exception): ...", "f'{whose}'", "lambda _settle: 0"],
)  # fmt: skip
def test_each_use_of_such_a_word_is_found(source: str):
    assert len(given_up("include/crossdock/x.py", source)) == 1


def test_a_word_is_given_up_where_its_old_sense_was_and_names_of_others_are_let_be():
    assert given_up("include/crossdock/flows/orders/load.py", "Flow(bulk=True)") == [
        "include/crossdock/flows/orders/load.py:1: bulk is low_priority now"
    ]
    assert given_up("include/crossdock/systems/tims/client.py", "tims.bulk(frame.head(5), os.walk(Path()))") == []

"""Reads the contracts as data: the fields of a document with their types, lengths and codes.

In: `include/contracts/<system>.yaml` (OpenAPI 3.1), or `<system>_schema.json` (the metadata model of an OData service).
Out: `Document`s, Arrow schemas, validators with messages for people. Never: the network; a rule that the contract does
not have.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from crossdock.errors import ConfigError, Refusal

FOLDER = Path(__file__).resolve().parents[2] / "contracts"
MONEY = pa.decimal128(18, 4)
ARROW = {
    "text": pa.string(),
    "moment": pa.string(),
    "date": pa.string(),
    "integer": pa.int64(),
    "number": MONEY,
    "double": pa.float64(),
    "boolean": pa.bool_(),
}
_EDM = {
    "Edm.Boolean": {"type": "boolean"},
    "Edm.Byte": {"type": "integer"},
    "Edm.DateTimeOffset": {"type": "string", "format": "date-time"},
    "Edm.Decimal": {"type": "number"},
    "Edm.Double": {"type": "number", "format": "double"},
    "Edm.Int32": {"type": "integer"},
    "Edm.Int64": {"type": "integer"},
}  # of OData's primitive types; all others are text
_AMOUNT_PATTERNS = {r"^[0-9]{1,13}\.[0-9]{2}$": 2, r"^-?[0-9]{1,13}\.[0-9]{2}$": 2, r"^[0-9]{1,13}\.[0-9]{2,4}$": 4}


@dataclass(frozen=True)
class Field:
    """One field of a document; `path` has dots for nested fields."""

    path: str
    type: str  # text, moment, date, integer, number, double (a number of any precision), boolean, object, array
    nullable: bool
    required: bool  # within its parent
    min_length: int | None = None
    max_length: int | None = None
    minimum: int | None = None
    maximum: int | None = None
    pattern: str | None = None
    codes: tuple[str, ...] = ()
    default: Any = None
    description: str = ""
    min_items: int | None = None
    max_items: int | None = None
    items: Document | None = None  # of an array of objects

    @property
    def places(self) -> int | None:
        """Decimal places of money that the contract writes as text ("12.99"); None for everything else."""
        return _AMOUNT_PATTERNS.get(self.pattern or "")

    @property
    def money(self) -> bool:
        """Whether a frame has it as scaled Int64."""
        return self.type in ("number", "double") or self.places is not None

    @property
    def written_type(self) -> str:
        """The type in words, with length and codes, for documentation."""
        if self.places is not None:
            words = "amount, 2 places" if self.places == 2 else f"amount, 2 to {self.places} places"
        elif self.codes:
            words = "one of " + ", ".join(self.codes)
        elif self.max_length:
            low = self.min_length or 0
            words = (
                f"{self.type}, {low} to {self.max_length} characters"
                if low
                else f"{self.type}, at most {self.max_length} characters"
            )
        elif self.minimum is not None and self.maximum is not None:
            words = f"{self.type}, {self.minimum} to {self.maximum}"
        elif self.pattern and self.type == "text":
            words = f"text like {self.pattern}"
        elif self.type == "array":
            low, high = self.min_items or 0, self.max_items
            words = f"list, {low} to {high}" if high else "list"
        else:
            words = self.type
        return words + (" or null" if self.nullable else "")


@dataclass(frozen=True)
class Document:
    """A schema of a contract, flat: every field by its path, parents before their children."""

    system: str
    name: str
    fields: dict[str, Field] = field(default_factory=dict)

    @property
    def leaves(self) -> dict[str, Field]:
        """The fields that hold a value of their own: neither objects nor lists."""
        return {path: one for path, one in self.fields.items() if one.type not in ("object", "array")}

    @functools.cached_property
    def arrow(self) -> pa.Schema:
        """The explicit Arrow schema to read documents by: text, int64, bool, decimal128(18, 4)."""
        return pa.schema(_arrow_fields(self, ""))

    @functools.cached_property
    def is_model(self) -> bool:
        """Whether it is of a metadata model: such services write numbers with quotes, too."""
        return (FOLDER / f"{self.system}_schema.json").exists()

    def only(self, paths: Collection[str]) -> Document:
        """The document with these leaves alone; those of a list behind its path and a dot."""
        kept: dict[str, Field] = {}
        for path, one in self.fields.items():
            below = [each.removeprefix(f"{path}.") for each in paths if each.startswith(f"{path}.")]
            if one.items and below:
                kept[path] = replace(one, items=one.items.only(below))
            elif path in paths or (one.type == "object" and below):
                kept[path] = one
        return Document(self.system, self.name, kept)

    def parents(self, path: str) -> list[Field]:
        """The objects around `path`, outermost first."""
        parts = path.split(".")
        return [self.fields[".".join(parts[:depth])] for depth in range(1, len(parts))]

    def must_have(self, path: str) -> bool:
        """Whether every valid document has this field: it and all objects around it are required and not nullable."""
        return all(one.required and not one.nullable for one in [*self.parents(path), self.fields[path]])


@functools.cache
def load(system: str) -> dict[str, Any]:
    """The contract as parsed YAML. Raises ConfigError where it is missing or cannot be read."""
    path = FOLDER / f"{system}.yaml"
    model = FOLDER / f"{system}_schema.json"
    if model.exists():
        return {"components": {"schemas": _of_odata(json.loads(model.read_bytes()))}}
    try:
        return yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except FileNotFoundError:
        valid = ", ".join(sorted(one.stem for one in FOLDER.glob("*.yaml")))
        raise ConfigError(f"There is no contract of a system {system!r}.", do=f"Known systems: {valid}.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"The contract {path.name} is not readable YAML.", do=str(error)) from None


def _of_odata(model: dict[str, Any]) -> dict[str, Any]:
    """The entities of an OData model as schemas: their properties, and the collections that they may hold. A property
    that is not nullable is required."""
    codes = model["enums"]
    schemas = {}
    for name, entity in model["entities"].items():
        properties: dict[str, Any] = {}
        for path, one in entity["properties"].items():
            kind, _, code = one["type"].partition(":")
            part = {"type": "string", "enum": codes[code]} if kind == "enum" and code in codes else _EDM.get(kind)
            properties[path] = {**(part or {"type": "string"}), "nullable": one["nullable"]}
        for path, one in entity["navigation"].items():
            if one["collection"]:
                properties[path] = {
                    "type": "array",
                    "items": {"$ref": f"#/components/schemas/{one['type']}"},
                    "nullable": True,
                }
        required = [path for path, one in properties.items() if not one["nullable"]]
        schemas[name] = {"type": "object", "properties": properties, "required": required}
    return schemas


@functools.cache
def document(system: str, schema: str) -> Document:
    """The schema `schema` of a contract as a Document. Raises ConfigError for an unknown name."""
    schemas = load(system)["components"]["schemas"]
    if schema not in schemas:
        from crossdock.config.suggest import nearest

        near = nearest(schema, schemas)
        do = f"Did you mean {near}?" if near else "Name one of the contract's schemas."
        raise ConfigError(f"The contract of {system} has no schema {schema!r}.", do=do)
    fields: dict[str, Field] = {}
    _collect(system, schema, _resolved(system, schemas[schema]), "", fields)
    return Document(system, schema, fields)


def _collect(system: str, name: str, schema: dict, prefix: str, fields: dict[str, Field]) -> None:
    required = set(schema.get("required", ()))
    for key, raw in schema.get("properties", {}).items():
        part = _resolved(system, raw)
        path = prefix + key
        kind = _type(part)
        items = None
        if kind == "array":
            inner = _resolved(system, part.get("items", {}))
            if inner["properties"]:
                below: dict[str, Field] = {}
                _collect(system, f"{name}.{key}", inner, "", below)
                items = Document(system, f"{name}.{key}", below)
        fields[path] = Field(
            path,
            kind,
            nullable=part.get("nullable", False) or None in part.get("enum", ()),
            required=key in required,
            min_length=part.get("minLength"),
            max_length=part.get("maxLength"),
            minimum=part.get("minimum"),
            maximum=part.get("maximum"),
            pattern=part.get("pattern"),
            codes=tuple(code for code in part.get("enum", ()) if isinstance(code, str)),
            default=part.get("default"),
            description=" ".join(str(part.get("description", "")).split()),
            min_items=part.get("minItems"),
            max_items=part.get("maxItems"),
            items=items,
        )
        if kind == "object":
            _collect(system, name, part, path + ".", fields)


def _resolved(system: str, schema: dict) -> dict:
    """`schema` without $ref, allOf, oneOf-with-null and oneOf-of-consts: one flat schema with `nullable`."""
    flat: dict[str, Any] = {"properties": {}, "required": []}
    parts = [_resolved(system, one) for one in schema.get("allOf", ())]
    if "$ref" in schema:
        parts.append(_resolved(system, _target(system, schema["$ref"])))
    for choice in ("oneOf", "anyOf"):
        options = schema.get(choice, ())
        consts = [one["const"] for one in options if "const" in one]
        if consts:
            parts.append({"type": "string", "enum": consts})
        elif options:
            given = [_resolved(system, one) for one in options if one.get("type") != "null"]
            # Each alternative requires its own fields: none of them is in every document.
            parts += given if len(given) == 1 else [{**one, "required": []} for one in given]
            flat["nullable"] = any(one.get("type") == "null" for one in options)
    own = {key: value for key, value in schema.items() if key not in ("allOf", "oneOf", "anyOf", "$ref")}
    kinds = own.get("type")
    if isinstance(kinds, list):
        own["type"] = next(one for one in kinds if one != "null")
        flat["nullable"] = "null" in kinds
    for part in [*parts, own]:
        for key, value in part.items():
            if key == "properties":
                for name, inner in value.items():
                    held = flat["properties"].get(name)
                    flat["properties"][name] = {"allOf": [held, inner]} if held else inner
            elif key == "required":
                flat["required"] = [*flat["required"], *value]
            elif key == "nullable":
                flat["nullable"] = flat.get("nullable", False) or value
            else:
                flat[key] = value
    return flat


def _target(system: str, reference: str) -> dict:
    node: Any = load(system)
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    return node


def _type(schema: dict) -> str:
    kind = schema.get("type", "object" if schema.get("properties") else "string")
    if kind == "string":
        return {"date-time": "moment", "date": "date"}.get(schema.get("format", ""), "text")
    return "double" if schema.get("format") == "double" else kind


@functools.cache
def arrow_schema(system: str, schema: str) -> pa.Schema:
    """The explicit Arrow schema of a contract's documents."""
    return document(system, schema).arrow


def _arrow_fields(whole: Document, prefix: str) -> list[pa.Field]:
    fields = []
    for path, one in whole.fields.items():
        name = path.removeprefix(prefix)
        if not path.startswith(prefix) or "." in name:
            continue
        if one.type == "object":
            kind: pa.DataType = pa.struct(_arrow_fields(whole, path + "."))
        elif one.type == "array":
            kind = pa.list_(pa.struct(_arrow_fields(one.items, "")) if one.items else pa.string())
        else:
            kind = ARROW[one.type]
        fields.append(pa.field(name, kind))
    return fields


@functools.cache
def validator(system: str, schema: str) -> Any:
    """A JSON-schema validator of one document (jsonschema_rs, draft 2020-12, formats checked)."""
    import jsonschema_rs

    return jsonschema_rs.Draft202012Validator(
        {"$ref": f"#/components/schemas/{schema}", "components": load(system)["components"]}, validate_formats=True
    )


def refusals(system: str, schema: str, content: Any) -> list[Refusal]:
    """Every way in which a parsed document breaks the contract: field, JSON-schema keyword, sentence. [] if none."""
    found = [
        Refusal(".".join(str(part) for part in error.instance_path), error.kind.name, error.message)
        for error in validator(system, schema).iter_errors(content)
    ]
    # Fields of a broken part are reported as unknown too: that is left out while the cause is reported.
    causes = [one for one in found if one.code != "unevaluatedProperties"]
    return causes or found

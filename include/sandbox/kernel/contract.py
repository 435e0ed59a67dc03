"""A contract as data: its operations, their parameters and bodies, and what a value breaks.

In: an OpenAPI 3.1 file of `include/contracts`. Out: the operation of a request, typed parameters, findings with JSON
pointers. Never: a verdict; the system decides the status and code of a finding.

Schemas are flattened before they are compiled: references are put in, `allOf` is merged, "X or null" becomes one type
list. So every finding names one field and one keyword, and no branch hides another's error. A request body is closed at
every depth: a field that its schema does not name is a finding.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

import jsonschema_rs
import yaml

FOLDER = Path(__file__).parents[2] / "contracts"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the one in C where PyYAML was built with it
METHODS = ("get", "put", "post", "delete", "patch")

_KEYWORDS = {
    "AdditionalProperties": "additionalProperties",
    "Constant": "const",
    "Enum": "enum",
    "ExclusiveMaximum": "maximum",
    "ExclusiveMinimum": "minimum",
    "OneOfNotValid": "oneOf",
    "OneOfMultipleValid": "oneOf",
}


@dataclass(frozen=True)
class Finding:
    """One thing that a value breaks."""

    pointer: str  # JSON pointer of the field, "?Name" for a query parameter
    keyword: str  # of JSON schema: required, additionalProperties, type, maxLength, pattern, format, enum, minimum, ...
    message: str
    value: Any = None  # what was given
    limit: Any = None  # what was expected, where it is one value

    @property
    def name(self) -> str:
        """The field's own name."""
        return unescape(self.pointer.lstrip("?").rsplit("/", 1)[-1])


@dataclass(frozen=True)
class Parameter:
    name: str
    place: str  # query, path, header
    required: bool
    schema: dict[str, Any]

    @cached_property
    def validator(self) -> Any:
        return _compile(self.schema)

    @property
    def many(self) -> bool:
        return self.schema.get("type") == "array"


@dataclass(frozen=True)
class Operation:
    """One method of one path."""

    id: str
    method: str
    path: str  # template
    parameters: tuple[Parameter, ...]
    bodies: dict[str, dict[str, Any]]  # media type -> flattened, closed schema; {} when the operation takes no body
    security: str  # name of the security scheme
    scopes: tuple[str, ...]
    segments: tuple[str, ...] = field(repr=False, default=())

    @cached_property
    def body(self) -> Any:
        """Validator of the request body; None when the operation takes none."""
        return _compile(next(iter(self.bodies.values()))) if self.bodies else None

    def takes(self, name: str) -> Parameter | None:
        return next((p for p in self.parameters if p.name == name), None)

    def required(self, name: str) -> bool:
        found = self.takes(name)
        return found is not None and found.required


def escape(part: object) -> str:
    return str(part).replace("~", "~0").replace("/", "~1")


def unescape(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")


def pointer(parts: Sequence[object]) -> str:
    return "".join("/" + escape(part) for part in parts)


def _compile(schema: dict[str, Any]) -> Any:
    return jsonschema_rs.Draft202012Validator(schema, validate_formats=True)


def findings(validator: Any, value: Any) -> list[Finding]:
    """All violations of `value`, [] for none."""
    if validator.is_valid(value):
        return []
    found = []
    for error in validator.iter_errors(value):
        kind = error.kind
        name = type(kind).__name__
        keyword = _KEYWORDS.get(name, name[:1].lower() + name[1:])
        place = pointer(error.instance_path)
        if name == "Required":
            found.append(Finding(f"{place}/{escape(kind.property)}", keyword, f"{kind.property} is required."))
        elif name == "AdditionalProperties":
            found += [
                Finding(f"{place}/{escape(key)}", keyword, f"{key} is not in the contract.") for key in kind.unexpected
            ]
        else:
            limit = next(
                (getattr(kind, a) for a in ("limit", "pattern", "format", "options") if hasattr(kind, a)), None
            )
            found.append(Finding(place, keyword, _message(keyword, error, limit), error.instance, limit))
    return found


def _message(keyword: str, error: Any, limit: Any) -> str:
    given = shown(error.instance)
    match keyword:
        case "maxLength" | "maxItems" | "maxProperties":
            return f"Longer than {limit}: {len(error.instance)} were given."
        case "minLength" | "minItems" | "minProperties":
            return "Nothing was given."
        case "pattern":
            return f"{given} does not have the form {limit}."
        case "format":
            return f"{given} is not of the format {limit}."
        case "enum":
            return f"{given} is not one of {', '.join(map(str, limit))}."
        case "minimum":
            return f"{given} is below {limit}."
        case "maximum":
            return f"{given} is above {limit}."
        case _:
            return str(error.message)[:300]


def shown(value: Any) -> str:
    """A value for a message, cut at 80 characters."""
    text = str(value) if not isinstance(value, str) else f'"{value}"'
    return text if len(text) <= 80 else text[:79] + "…"


class Contract:
    """One contract file."""

    def __init__(self, path: Path) -> None:
        self._text = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)  # noqa: S506 - both are safe
        self.operations = {op.id: op for op in self._operations()}

    # ---- schemas ----
    def schema(self, name: str, *, closed: bool = False) -> dict[str, Any]:
        """A named schema, flattened; `closed` refuses unknown fields at every depth."""
        return self._flat({"$ref": f"#/components/schemas/{name}"}, closed)

    @cache  # noqa: B019 a contract lives as long as the process
    def validator(self, name: str, *, closed: bool = False) -> Any:
        return _compile(self.schema(name, closed=closed))

    def findings(self, name: str, value: Any, *, closed: bool = False) -> list[Finding]:
        """All violations of a named schema by `value`."""
        return findings(self.validator(name, closed=closed), value)

    def resolve(self, node: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in node:
            target: Any = self._text
            for part in node["$ref"].removeprefix("#/").split("/"):
                target = target[unescape(part)]
            node = {**target, **{k: v for k, v in node.items() if k != "$ref"}}
        return node

    def _flat(self, schema: Any, closed: bool) -> Any:
        if not isinstance(schema, dict):
            return schema
        schema = dict(self.resolve(schema))
        parts = [self._flat(part, closed) for part in schema.pop("allOf", [])]
        for keyword in ("oneOf", "anyOf"):
            if keyword in schema:
                parts.append(self._either(keyword, [self._flat(s, closed) for s in schema.pop(keyword)]))
        schema.pop("examples", None)
        for key in ("items", "additionalProperties", "propertyNames", "not"):
            if key in schema:
                schema[key] = self._flat(schema[key], closed)
        if "properties" in schema:
            schema["properties"] = {name: self._flat(s, closed) for name, s in schema["properties"].items()}
        for part in parts:
            schema = _merge(part, schema)
        if "unevaluatedProperties" in schema:
            schema["additionalProperties"] = schema.pop("unevaluatedProperties")
        if closed and "properties" in schema:
            schema.setdefault("additionalProperties", False)
        return schema

    @staticmethod
    def _either(keyword: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        if all("const" in choice for choice in choices):
            return {"enum": [choice["const"] for choice in choices]}
        some = [choice for choice in choices if choice.get("type") != "null"]
        if len(some) == 1 and len(choices) == 2:
            return _or_null(some[0])
        return {keyword: choices}

    # ---- operations ----
    def _operations(self) -> list[Operation]:
        found = []
        for path, item in self._text["paths"].items():
            for method in METHODS:
                if method in item:
                    found.append(self._operation(path, item, method))
        return found

    def _operation(self, path: str, item: dict[str, Any], method: str) -> Operation:
        sent = item[method]
        parameters = [self.resolve(p) for p in [*item.get("parameters", []), *sent.get("parameters", [])]]
        content = self.resolve(sent.get("requestBody", {})).get("content", {})
        security = sent.get("security", self._text.get("security", [{}]))
        scheme, scopes = next(iter(security[0].items()), ("", [])) if security else ("", [])
        return Operation(
            id=sent["operationId"],
            method=method.upper(),
            path=path,
            parameters=tuple(
                Parameter(p["name"], p["in"], p.get("required", False), self._flat(p["schema"], False))
                for p in parameters
            ),
            bodies={media: self._flat(entry["schema"], True) for media, entry in content.items()},
            security=scheme,
            scopes=tuple(scopes),
            segments=tuple(path.strip("/").split("/")),
        )


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    schema = dict(schema)
    if "type" in schema:
        types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        schema["type"] = [*types, "null"]
    if "enum" in schema:
        schema["enum"] = [*schema["enum"], None]
    return schema


def _merge(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """`second` laid over `first`: properties one by one, required together."""
    combined = {**first, **second}
    if "properties" in first and "properties" in second:
        own = second["properties"]
        combined["properties"] = first["properties"] | {
            name: _merge(first["properties"].get(name, {}), schema) for name, schema in own.items()
        }
    if "required" in first and "required" in second:
        combined["required"] = list(dict.fromkeys([*first["required"], *second["required"]]))
    return combined


@cache
def load(name: str) -> Contract:
    """`channel_advisor` or `tims`."""
    return Contract(FOLDER / f"{name}.yaml")


# ---- requests ----
def segments(raw_path: str) -> tuple[str, ...]:
    """The parts of a path, each percent-decoded by itself, so that an encoded slash stays inside its part."""
    return tuple(unquote(part) for part in raw_path.split("/")[1:])


class Routes:
    """Which of a set of operations a request means."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._operations = sorted(operations, key=lambda op: [part.startswith("{") for part in op.segments])

    def find(self, method: str, parts: tuple[str, ...]) -> tuple[Operation | None, dict[str, str], list[str]]:
        """The operation and its path parameters as text; when there is none, the methods that the path does offer."""
        offered = []
        for operation in self._operations:
            values = _match(operation.segments, parts)
            if values is None:
                continue
            if operation.method == method:
                return operation, values, []
            offered.append(operation.method)
        return None, {}, offered


def _match(template: tuple[str, ...], parts: tuple[str, ...]) -> dict[str, str] | None:
    if len(template) != len(parts):
        return None
    values = {}
    for wanted, given in zip(template, parts, strict=True):
        if wanted.startswith("{"):
            values[wanted[1:-1]] = given
        elif wanted != given:
            return None
    return values


def read_path(operation: Operation, values: dict[str, str]) -> dict[str, Any] | None:
    """Typed path parameters; None when one cannot be the id of anything."""
    typed = {}
    for parameter in operation.parameters:
        if parameter.place == "path":
            value = _typed(parameter.schema, values[parameter.name])
            if not parameter.validator.is_valid(value):
                return None
            typed[parameter.name] = value
    return typed


def read_query(operation: Operation, query: str, *, any_case: bool = False) -> tuple[dict[str, Any], list[Finding]]:
    """Typed query parameters by their contract names (arrays as lists, defaults put in), and what is wrong."""
    names = {(p.name.lower() if any_case else p.name): p for p in operation.parameters if p.place == "query"}
    given: dict[str, list[str]] = {}
    wrong = []
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=1_000)
    except ValueError:
        return {}, [Finding("?", "format", "The query cannot be read.")]
    for name, value in pairs:
        parameter = names.get(name.lower() if any_case else name)
        if parameter is None:
            wrong.append(
                Finding(f"?{name[:100]}", "additionalProperties", f"There is no parameter {shown(name)} here.")
            )
        else:
            given.setdefault(parameter.name, []).append(value)
    typed: dict[str, Any] = {}
    for parameter in names.values():
        values = given.get(parameter.name)
        if values is None:
            if parameter.required:
                wrong.append(Finding(f"?{parameter.name}", "required", f"{parameter.name} is required."))
            elif "default" in parameter.schema:
                typed[parameter.name] = parameter.schema["default"]
            continue
        if len(values) > 1 and not parameter.many:
            wrong.append(Finding(f"?{parameter.name}", "maxItems", f"{parameter.name} is given {len(values)} times."))
            continue
        item = parameter.schema.get("items", {}) if parameter.many else parameter.schema
        read = [_typed(item, value) for value in values]
        typed[parameter.name] = read if parameter.many else read[0]
        broken = findings(parameter.validator, typed[parameter.name])
        wrong += [Finding(f"?{parameter.name}", f.keyword, f.message, f.value, f.limit) for f in broken[:1]]
    return typed, wrong


def _typed(schema: dict[str, Any], text: str) -> Any:
    kind = schema.get("type")
    if kind == "integer" and re.fullmatch(r"-?[0-9]{1,18}", text):
        return int(text)
    if kind == "boolean" and text in ("true", "false"):
        return text == "true"
    return text

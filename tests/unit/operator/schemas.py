"""Structural schemas, as far as a CustomResourceDefinition uses them: defaults, and what is wrong with a value."""

import copy
import re
from typing import Any

Schema = dict[str, Any]
_TYPES = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}


def with_defaults(schema: Schema, value: Any) -> Any:
    """Return ``value`` with the defaults of ``schema``, from the outside in, as the API server sets them."""
    if isinstance(value, dict) and "properties" in schema:
        result = dict(value)
        for name, inner in schema["properties"].items():
            if name not in result and "default" in inner:
                result[name] = copy.deepcopy(inner["default"])
            if name in result:
                result[name] = with_defaults(inner, result[name])
        return result
    if isinstance(value, list) and "items" in schema:
        return [with_defaults(schema["items"], item) for item in value]
    return value


def errors(schema: Schema, value: Any, path: str = "") -> list[str]:
    """Return what is wrong with ``value``; unknown fields count as wrong, as with ``kubectl apply``."""
    if schema.get("x-kubernetes-int-or-string"):
        if isinstance(value, int):
            return []
        return _text(schema, value, path) if isinstance(value, str) else [f"{path}: neither a number nor text"]
    if not isinstance(value, _TYPES[schema["type"]]) or (isinstance(value, bool) and schema["type"] == "integer"):
        return [f"{path}: must be {schema['type']}"]
    match value:
        case dict():
            return _object(schema, value, path)
        case list():
            return _array(schema, value, path)
        case str():
            return _text(schema, value, path)
        case _:
            low, high = schema.get("minimum", value), schema.get("maximum", value)
            return [] if low <= value <= high else [f"{path}: must be from {low} to {high}"]


def _object(schema: Schema, value: dict[str, Any], path: str) -> list[str]:
    found = [f"{path}.{name}: is required" for name in schema.get("required", []) if name not in value]
    for name, one in value.items():
        inner = schema.get("properties", {}).get(name, schema.get("additionalProperties"))
        if inner is None and schema.get("x-kubernetes-preserve-unknown-fields"):
            continue
        found += [f"{path}.{name}: unknown field"] if inner is None else errors(inner, one, f"{path}.{name}")
    return found


def _array(schema: Schema, value: list[Any], path: str) -> list[str]:
    found = []
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        found.append(f"{path}: wrong number of items")
    keys = schema.get("x-kubernetes-list-map-keys", [])
    identities = [tuple(item.get(key) for key in keys) if keys else str(item) for item in value]
    if schema.get("x-kubernetes-list-type") in {"map", "set"} and len(set(identities)) < len(identities):
        found.append(f"{path}: duplicate")
    for number, item in enumerate(value):
        found += errors(schema["items"], item, f"{path}[{number}]")
    return found


def _text(schema: Schema, value: str, path: str) -> list[str]:
    found = []
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{path}: must be one of {', '.join(schema['enum'])}")
    if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
        found.append(f"{path}: wrong length")
    if "pattern" in schema and not re.search(schema["pattern"], value):
        found.append(f"{path}: must match {schema['pattern']}")
    return found

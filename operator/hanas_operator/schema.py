"""From msgspec types to a structural schema, as CustomResourceDefinitions want it.

JSON Schema says more than a structural schema may: references are written out, ``title`` and ``$defs`` go, "number or
text" becomes ``x-kubernetes-int-or-string``, enumerations get their type, and fields that are structs their default.
(Kubernetes documentation, "Specifying a structural schema".)
"""

from typing import Any

import msgspec
from msgspec import NODEFAULT, inspect

from hanas_operator.plain import plain

Schema = dict[str, Any]
_REFERENCE = "#/$defs/"


def structural(kind: type[msgspec.Struct]) -> Schema:
    """Return the structural schema of ``kind``."""
    whole = plain(msgspec.json.schema(kind))
    definitions: dict[str, Schema] = whole["$defs"]
    for found in _structs(inspect.type_info(kind), {}).values():
        properties = definitions[found.cls.__name__]["properties"]
        for field in found.fields:
            if field.default_factory is not NODEFAULT:
                properties[field.encode_name]["default"] = plain(field.default_factory())
    return _level(whole, definitions)


def _structs(info: inspect.Type, found: dict[type, inspect.StructType]) -> dict[type, inspect.StructType]:
    """Return every struct type that can occur in ``info``."""
    match info:
        case inspect.Metadata():
            _structs(info.type, found)
        case inspect.StructType() if info.cls not in found:
            found[info.cls] = info
            for field in info.fields:
                _structs(field.type, found)
        case inspect.UnionType():
            for one in info.types:
                _structs(one, found)
        case inspect.VarTupleType():
            _structs(info.item_type, found)
        case _:
            pass
    return found


def _level(given: Schema, definitions: dict[str, Schema]) -> Schema:
    """Return one level without references, and all levels below it."""
    schema = {key: value for key, value in given.items() if key not in {"$ref", "$defs", "title"}}
    if "$ref" in given:
        schema = {**_level(definitions[given["$ref"].removeprefix(_REFERENCE)], definitions), **schema}
    if "anyOf" in schema:
        number, text = schema.pop("anyOf")
        bounds = {key: value for key, value in text.items() if key != "type"}
        schema |= {"anyOf": [{"type": number["type"]}, {"type": "string"}], "x-kubernetes-int-or-string": True} | bounds
    elif "enum" in schema:
        schema |= {"type": "string", "enum": list(schema["enum"])}
    if "properties" in given:
        schema["properties"] = {name: _level(one, definitions) for name, one in given["properties"].items()}
    for inner in ("items", "additionalProperties"):
        if inner in given:
            schema[inner] = _level(given[inner], definitions)
    if not schema.get("required", True):
        del schema["required"]
    return schema

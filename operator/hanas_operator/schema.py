"""From msgspec types to a structural schema, as CustomResourceDefinitions require it.

JSON Schema allows more than a structural schema: references are expanded, ``title`` and ``$defs`` removed, "number or
string" becomes ``x-kubernetes-int-or-string``, enumerations get their type, and fields that are structs their default.
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
    for struct in _structs(inspect.type_info(kind), {}).values():
        properties = definitions[struct.cls.__name__]["properties"]
        for field in struct.fields:
            if field.default_factory is not NODEFAULT:
                properties[field.encode_name]["default"] = plain(field.default_factory())
    return _level(whole, definitions)


def _structs(info: inspect.Type, structs: dict[type, inspect.StructType]) -> dict[type, inspect.StructType]:
    """Add every struct type in ``info`` to ``structs``, and return them."""
    match info:
        case inspect.Metadata():
            _structs(info.type, structs)
        case inspect.StructType() if info.cls not in structs:
            structs[info.cls] = info
            for field in info.fields:
                _structs(field.type, structs)
        case inspect.UnionType():
            for one in info.types:
                _structs(one, structs)
        case inspect.VarTupleType():
            _structs(info.item_type, structs)
        case _:
            pass
    return structs


def _level(source: Schema, definitions: dict[str, Schema]) -> Schema:
    """Return a schema without references, on all levels."""
    schema = {key: value for key, value in source.items() if key not in {"$ref", "$defs", "title"}}
    if "$ref" in source:
        schema = {**_level(definitions[source["$ref"].removeprefix(_REFERENCE)], definitions), **schema}
    if "anyOf" in schema:
        number, text = schema.pop("anyOf")
        bounds = {key: value for key, value in text.items() if key != "type"}
        schema |= {"anyOf": [{"type": number["type"]}, {"type": "string"}], "x-kubernetes-int-or-string": True} | bounds
    elif "enum" in schema:
        schema |= {"type": "string", "enum": list(schema["enum"])}
    if "properties" in source:
        schema["properties"] = {name: _level(one, definitions) for name, one in source["properties"].items()}
    for inner in ("items", "additionalProperties"):
        if inner in source:
            schema[inner] = _level(source[inner], definitions)
    if not schema.get("required", True):
        del schema["required"]
    return schema

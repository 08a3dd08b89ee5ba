"""From msgspec types to a structural schema, as CustomResourceDefinitions require it.

JSON Schema allows more than a structural schema: references are expanded, ``title`` and ``$defs`` removed, "number or
string" becomes ``x-kubernetes-int-or-string``, and enumerations get their type (Kubernetes documentation, "Specifying a
structural schema").
"""

from typing import Any

import msgspec

from hanas_operator.plain import plain

Schema = dict[str, Any]
_REFERENCE = "#/$defs/"


def structural(kind: type[msgspec.Struct]) -> Schema:
    """Return the structural schema of ``kind``."""
    schema = plain(msgspec.json.schema(kind))
    return _level(schema, schema["$defs"])


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

"""Write docs/fields.md, the reference of the resources' fields, from their definitions: ``python -m docs.fields``."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hanas_operator import crd

Schema = dict[str, Any]
PAGE = Path(__file__).with_suffix(".md")
_HEAD = """\
# Fields

All fields of the resources, made by `make fields` from the definitions that the API server checks; do not edit. \
[kubernetes.md](kubernetes.md) says how to use them. `kubectl explain hanas.spec` shows the same.

*As in Kubernetes* has fields of the Kubernetes API, which `kubectl explain` lists.
"""
KUBERNETES = {
    *("affinity", "conditions", "env", "imagePullSecrets", "namespaceSelector", "podSelector", "resources"),
    *("tolerations", "topologySpreadConstraints"),
}
"""The fields with types of Kubernetes, which are described there."""
_COLUMNS = "| field | type | default | meaning |\n|---|---|---|---|"


def rendered() -> str:
    """Return the page."""
    return "\n".join([_HEAD, *(_kind(definition["spec"]) for definition in crd.definitions())])


def _kind(spec: Schema) -> str:
    (version,) = spec["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    names = spec["names"]
    also = ", ".join(f"`{name}`" for name in (names["plural"], *names.get("shortNames", [])))
    lines = [
        f"## {names['kind']}",
        "",
        f"{schema['description']} `apiVersion: {spec['group']}/{version['name']}`; for kubectl also {also}.",
        "",
    ]
    for part in ("spec", "status"):
        rows = list(_rows(schema["properties"][part], ""))
        lines += [f"### {names['kind']} {part}", "", _COLUMNS, *rows, ""]
    rules = list(_rules(schema, ""))
    if rules:
        lines += [f"### {names['kind']} rules", "", "The API server refuses what breaks them, in these words.", ""]
        lines += ["| field | rule |\n|---|---|", *rules, ""]
    return "\n".join(lines)


def _rows(schema: Schema, path: str) -> Iterator[str]:
    """Yield a row for each field below ``path``."""
    required = schema.get("required", [])
    for name, field in schema.get("properties", {}).items():
        place = f"{path}{name}"
        inner, brackets, listed = (field, "", "")
        if field.get("type") == "array":
            inner, brackets, listed = (field["items"], "[]", "list: ")
        expands = name not in KUBERNETES and "properties" in inner
        default = "" if expands or "default" not in field else f"`{_escaped(json.dumps(field['default']))}`"
        default = "required" if name in required else default
        description = field.get("description") or inner.get("description", "")
        yield f"| `{place}` | {listed}{_type(inner, expands)} | {default} | {_escaped(description)} |"
        if expands:
            yield from _rows(inner, f"{place}{brackets}.")


def _type(schema: Schema, expands: bool) -> str:
    if "enum" in schema:
        return ", ".join(f"`{_escaped(value)}`" for value in schema["enum"])
    if schema.get("x-kubernetes-int-or-string"):
        return "number or text"
    if schema["type"] == "object" and not expands:
        values = schema.get("additionalProperties")
        return f"map to {_type(values, False)}" if values else "as in Kubernetes"
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None:
        return f"{schema['type']}, {low} to {high}" if high is not None else f"{schema['type']}, at least {low}"
    return str(schema["type"])


def _rules(schema: Schema, path: str) -> Iterator[str]:
    """Yield a row for each rule of ``schema`` and below."""
    for rule in schema.get("x-kubernetes-validations", []):
        place = f"{path}{rule.get('fieldPath', '')}".removeprefix(".")
        yield f"| {f'`{place}`' if place else ''} | {_escaped(rule['message'])} |"
    for name, field in schema.get("properties", {}).items():
        yield from _rules(field, f"{path}.{name}")
    if "items" in schema:
        yield from _rules(schema["items"], f"{path}[]")


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    """Renew the page."""
    PAGE.write_text(rendered(), encoding="utf-8")


if __name__ == "__main__":
    main()

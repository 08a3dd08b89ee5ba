"""Write the schemas in docs/openapi from the types of the programs: ``python -m docs.openapi.generate``.

Paths, parameters and answers are written by hand, and so are the schemas above `MARKER`, which have no type of their
own. Everything below it is generated: the shapes, with the docstrings as descriptions, and the bounds of `BOUNDS`.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec
import yaml

from hanas_core.epochs.arbitration import Arrival, Challenge, Place
from hanas_core.members.documents import Report
from hanas_overseer import documents as overseer
from hanas_overseer.bodies import SignInRequest
from hanas_overseer.signin import SessionDocument
from hanas_worker.faces.http.answers import Page
from hanas_worker.faces.http.leases import Grant, Granted, LeaseShown
from hanas_worker.faces.http.transactions import Done, Txn
from hanas_worker.neighbours.keepalives import KeepAlive, KeepAliveAnswer
from hanas_worker.ops.status import Status
from hanas_worker.ops.switchover import HandedOver, Switchover

Schema = dict[str, Any]
FOLDER = Path(__file__).parent
MARKER = "    # Everything below is written by 'make openapi' from the types; do not edit it.\n"
_TEMPLATE = "#/components/schemas/{name}"

REQUESTS: dict[str, tuple[type, ...]] = {
    "worker": (Switchover, Txn, Grant),
    "link": (KeepAlive,),
    "overseer": (Arrival, Challenge, Report, SignInRequest),
}
ANSWERS: dict[str, tuple[type, ...]] = {
    "worker": (Status, Page, HandedOver, Done, Granted, LeaseShown),
    "link": (KeepAliveAnswer,),
    "overseer": (
        *(Place, overseer.HighestEpoch, overseer.ClusterDocument, overseer.PoolDocument),
        *(overseer.EpochsDocument, overseer.TakeoversDocument, overseer.AlertsDocument, SessionDocument),
    ),
}

_MEMBER: Schema = {"pattern": r"^[A-Za-z0-9][A-Za-z0-9._\-]{0,127}$"}
_NONCE: Schema = {"pattern": "^[0-9a-f]{16,64}$"}
_URL: Schema = {"pattern": "^https?://[!-~]+$", "maxLength": 256}
_COUNT: Schema = {"minimum": 0}
_EPOCH: Schema = {"minimum": 1}
_SLOT: Schema = {"minimum": 0, "maximum": 255}
_TTL: Schema = {"minimum": 1, "maximum": 9_000_000_000}
_LEASE: Schema = {"minimum": 1, "maximum": (1 << 63) - 1}
_ADDRESSED = {"member": _MEMBER, "incarnation": _NONCE, "folderId": _NONCE}
_LOG: dict[str, Schema] = {
    "role": {"enum": ["joining", "backup", "elect", "main", "left"]},
    "committed": {"pattern": "^[0-9]+/[0-9]+/[0-9]+$"},
    "epoch": _COUNT,
    "revision": _COUNT,
    "keys": _COUNT,
    "valueBytes": _COUNT,
}

BOUNDS: dict[str, dict[str, Schema]] = {
    "Arrival": {**_ADDRESSED, "advertiseUrl": _URL, "linkUrl": _URL},
    "Challenge": {**_ADDRESSED, "verdict": {"enum": ["PrimaryFailed", "PrimaryWedged", "HandedOver"]}},
    "Place": {"role": {"enum": ["main", "backup"]}, "epoch": _EPOCH, "slot": _SLOT},
    "MainInfo": {"epoch": _EPOCH},
    "MemberEntry": {
        "role": {"enum": ["main", "elect", "backup", "joining", "left"]},
        "slot": _SLOT,
        "epoch": _COUNT,
        "keys": _COUNT,
    },
    "EpochEntry": {"epoch": _EPOCH, "follows": _COUNT},
    "HighestEpoch": {"epoch": _COUNT},
    "ClusterDocument": {"epoch": _COUNT},
    "Listed": {"key": {"minLength": 1, "maxLength": 1024}, "version": {"pattern": "^[0-9]+-[0-9]+$"}, "size": _COUNT},
    "FolderHealth": {"id": _NONCE},
    "CompactionState": {"runs": _COUNT},
    "HistoryState": dict.fromkeys(("revision", "compacted", "changes", "bytes", "valueBytes", "cuts"), _COUNT),
    "LeaseState": dict.fromkeys(("granted", "keys", "expiries"), _COUNT),
    "WatchState": dict.fromkeys(("open", "lost"), _COUNT),
    "Switchover": {"to": _MEMBER},
    "Grant": {"ttl": _TTL, "id": _LEASE},
    "Granted": {"ttl": _TTL, "id": _LEASE},
    "LeaseShown": {"ttl": _TTL, "id": _LEASE, "remaining": _COUNT},
    "HandedOver": {"epoch": _EPOCH},
    "LogStatus": {"log": _COUNT, **_LOG},
    "Status": {"incarnation": _NONCE, "slot": {"minimum": -1, "maximum": 255}, **_LOG},
}
"""What the programs check or keep to beyond the types, by schema and property."""


def schemas(name: str) -> dict[str, Schema]:
    """Return the generated schemas of one description, by name."""
    made = _components(REQUESTS[name], answer=False)
    for kind, schema in _components(ANSWERS[name], answer=True).items():
        if made.setdefault(kind, schema) != schema:
            raise ValueError(f"{kind} is sent and received, with fields that may be missing: it needs two types")
    return dict(sorted(made.items()))


def _components(kinds: Iterable[type], *, answer: bool) -> dict[str, Schema]:
    _, components = msgspec.json.schema_components(
        [_without_raw(kind) for kind in kinds], schema_hook=lambda _: {}, ref_template=_TEMPLATE
    )
    found: dict[str, Schema] = msgspec.json.decode(msgspec.json.encode(components))
    types = _types(kinds)
    return {name: _finished(types[name], schema, answer=answer) for name, schema in found.items()}


def _without_raw(kind: type) -> type:
    """Return ``kind`` with any JSON where it keeps JSON as it came, whose default msgspec cannot put into a schema."""
    if not issubclass(kind, msgspec.Struct):
        return kind
    fields = msgspec.structs.fields(kind)
    if all(field.type is not msgspec.Raw for field in fields):
        return kind
    replaced = [
        (field.encode_name, Any, None) if field.type is msgspec.Raw else (field.encode_name, field.type)
        for field in fields
    ]
    return msgspec.defstruct(kind.__name__, replaced, namespace={"__doc__": kind.__doc__})


def _types(kinds: Iterable[type]) -> dict[str, type]:
    """Return every class that can occur in ``kinds``, by name."""
    found: dict[str, type] = {}

    def visit(info: Any) -> None:
        if isinstance(info, msgspec.inspect.Type):
            kind = getattr(info, "cls", None)
            if kind is not None:
                if kind.__name__ in found:
                    return
                found[kind.__name__] = kind
            for name in info.__struct_fields__:
                visit(getattr(info, name))
        elif isinstance(info, msgspec.inspect.Field):
            visit(info.type)
        elif isinstance(info, tuple):
            for one in info:
                visit(one)

    visit(msgspec.inspect.multi_type_info(kinds))
    return found


def _finished(kind: type, schema: Schema, *, answer: bool) -> Schema:
    """Return a schema with all descriptions and bounds. In an answer every field is always there."""
    schema.pop("title", None)
    if "description" in schema:
        schema["description"] = _prose(schema["description"])
    if issubclass(kind, Enum):
        return {"type": "string", **schema}
    properties = schema.get("properties", {})
    bounds = BOUNDS.get(kind.__name__, {})
    for name in bounds.keys() - properties.keys():
        raise ValueError(f"{kind.__name__} has no property {name!r}: correct BOUNDS")
    said = _field_docstrings(kind)
    for name, found in properties.items():
        found.update(bounds.get(name, {}))
        if name in said:
            found["description"] = said[name]
        if answer:
            found.pop("default", None)
    if answer and properties:
        schema["required"] = list(properties)
    return schema


def _field_docstrings(kind: type) -> dict[str, str]:
    """Return the docstrings below the fields of a struct, by the fields' names in JSON."""
    found = {}
    for owner in reversed(kind.__mro__):
        if owner is msgspec.Struct or not issubclass(owner, msgspec.Struct):
            continue
        names = {field.name: field.encode_name for field in msgspec.structs.fields(owner)}
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
        assert isinstance(body, ast.ClassDef)
        for field, after in zip(body.body, body.body[1:], strict=False):
            match field, after:
                case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(text))):
                    found[names[name]] = _prose(text)
                case _:
                    pass
    return found


def _prose(text: str) -> str:
    """Return a docstring as one line of Markdown, in the words of JSON."""
    return re.sub(r"``([^`]+)``", r"`\1`", " ".join(text.split())).replace("None", "null")


class _Dumper(yaml.SafeDumper):
    """Write a mapping on one line only if it holds no description and nothing nested."""

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        """Return the node of a mapping."""
        return super().represent_mapping(tag, mapping, False if "description" in mapping else flow_style)


def rendered(name: str) -> str:
    """Return the whole text of a description: its part that is written by hand, and the schemas."""
    by_hand, marker, _ = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").partition(MARKER)
    if not marker:
        raise ValueError(f"{name}.yaml has no line {MARKER.strip()!r}")
    text: str = yaml.dump(
        schemas(name), Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=112, allow_unicode=True
    )
    return by_hand + MARKER + textwrap.indent(text, "    ")


def main() -> None:
    """Renew all descriptions."""
    for name in ANSWERS:
        (FOLDER / f"{name}.yaml").write_text(rendered(name), encoding="utf-8")


if __name__ == "__main__":
    main()

"""The file of clients: principals, the tokens and certificates by which they are known, and their rights, in YAML.

    roles:
      shop: [read, write, list]
    principals:
      - name: web
        tokens: [SHA-256 of the token, 64 hexadecimal digits]
        certificates: ["CN=web,O=Example"]
        grants:
          - {prefix: orders/, roles: [shop]}
          - {rights: [observe]}

What a file may not grant it does not: whatever is not understood makes all of it unusable. Errors name line and field.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, NoReturn

import msgspec
import yaml

from hanas_serving.principals import ON_CLUSTER, ON_KEYS, Action, disjoint

MOST_CHARS = 256 << 10
_MOST_DEPTH = 16
_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
_OF_NOTHING = hashlib.sha256(b"").hexdigest()
_PLACE = re.compile(r"(?P<words>.*?)(?: - at `\$(?P<path>[^`]*)`)?", re.DOTALL)
_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")
_RIGHTS = {action.value: action for action in (*sorted(ON_KEYS), *sorted(ON_CLUSTER))}
_ROLES: Mapping[str, frozenset[Action]] = {
    "reader": frozenset({Action.READ, Action.LIST, Action.WATCH}),
    "writer": ON_KEYS,
    "observer": frozenset({Action.OBSERVE}),
    "administrator": ON_CLUSTER,
}
"""Roles that every file has."""

Name = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._@-]{0,63}\Z")]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]


class ClientsError(Exception):
    """The file cannot be used. One line for people."""


class Grant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rights on all keys and on the cluster, or on the keys with a prefix."""

    rights: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    prefix: str | None = None
    bucket: Text | None = None
    """Reserved: for a protocol that has buckets. It grants nothing yet."""


class Described(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A principal as it stands in the file."""

    name: Name
    tokens: tuple[str, ...] = ()
    certificates: tuple[Text, ...] = ()
    access_keys: tuple[Text, ...] = ()
    """Reserved: for a protocol that signs its requests."""
    grants: tuple[Grant, ...] = ()


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file."""

    principals: tuple[Described, ...]
    roles: dict[Name, tuple[str, ...]] = {}


class Client(msgspec.Struct, frozen=True):
    """A principal, with what its grants come to."""

    name: str
    digests: tuple[bytes, ...]
    """SHA-256 of its tokens."""
    subjects: tuple[str, ...]
    access_keys: tuple[str, ...]
    everywhere: frozenset[Action]
    below: Mapping[Action, tuple[bytes, ...]]


class Clients(msgspec.Struct, frozen=True):
    """All principals of a file."""

    entries: tuple[Client, ...]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.entries)


def decode(text: str) -> Clients:
    """Return what the file grants. Raises ClientsError."""
    if len(text) > MOST_CHARS:
        raise ClientsError(f"the file has more than {MOST_CHARS >> 10} KiB")
    return _File(text).clients()


class _File:
    def __init__(self, text: str) -> None:
        try:
            self._require_plain(text)
            node = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            words = " ".join(str(error.problem or error.context).split())
            self._refuse_at(_line_of(mark), "", f"this is no YAML: {words}")
        except yaml.YAMLError as error:
            self._refuse_at(None, "", f"this is no YAML: {' '.join(str(error).split())[:200]}")
        if node is None:
            self._refuse_at(None, "", "the file is empty; it needs `principals`")
        self._root = node
        self._require_no_key_twice(node, "")
        try:
            self._document = msgspec.convert(yaml.SafeLoader("").construct_document(node), Document)
        except msgspec.ValidationError as error:
            match = _PLACE.fullmatch(str(error))
            assert match is not None, "every text matches"
            self._refuse(match["path"] or "", match["words"])
        except (yaml.YAMLError, ValueError) as error:  # a date or a number that is none
            self._refuse("", " ".join(str(error).split())[:200])

    def clients(self) -> Clients:
        roles = dict(_ROLES)
        for name, rights in self._document.roles.items():
            if name in _ROLES:
                self._refuse(f".roles.{name}", "every file has this role already: choose another name")
            roles[name] = frozenset(self._right(right, f".roles.{name}[{place}]") for place, right in enumerate(rights))
        taken: dict[object, str] = {}
        entries = []
        for place, described in enumerate(self._document.principals):
            path = f".principals[{place}]"
            for each, where in _identities(described, path):
                if each in taken:
                    self._refuse(where, f"it stands at {taken[each].lstrip('.')} already")
                taken[each] = where
            entries.append(self._client(described, roles, path))
        return Clients(tuple(entries))

    def _client(self, described: Described, roles: Mapping[str, frozenset[Action]], path: str) -> Client:
        digests = tuple(self._digest(token, f"{path}.tokens[{place}]") for place, token in enumerate(described.tokens))
        everywhere: set[Action] = set()
        below: dict[Action, list[bytes]] = {}
        for place, grant in enumerate(described.grants):
            where = f"{path}.grants[{place}]"
            actions = self._actions(grant, roles, where)
            if grant.bucket is not None:
                if grant.prefix is not None:
                    self._refuse(f"{where}.bucket", "a grant has a prefix or a bucket, not both")
            elif grant.prefix is None:
                everywhere |= actions
            else:
                if concerned := actions & ON_CLUSTER:
                    names = " and ".join(sorted(concerned))
                    self._refuse(f"{where}.prefix", f"{names}: for the whole cluster only, so without a prefix")
                prefix = self._prefix(grant.prefix, f"{where}.prefix")
                for action in actions:
                    below.setdefault(action, []).append(prefix)
        return Client(
            described.name,
            digests,
            described.certificates,
            described.access_keys,
            frozenset(everywhere),
            {action: disjoint(prefixes) for action, prefixes in below.items()},
        )

    def _actions(self, grant: Grant, roles: Mapping[str, frozenset[Action]], path: str) -> frozenset[Action]:
        actions = frozenset(self._right(right, f"{path}.rights[{place}]") for place, right in enumerate(grant.rights))
        for place, role in enumerate(grant.roles):
            if role not in roles:
                self._refuse(f"{path}.roles[{place}]", f"there is no role {role[:80]!r}: use {', '.join(roles)}")
            actions |= roles[role]
        if not actions:
            self._refuse(path, "this grants nothing: give rights or roles")
        return actions

    def _right(self, right: str, path: str) -> Action:
        if right not in _RIGHTS:
            self._refuse(path, f"there is no right {right[:80]!r}: use {', '.join(_RIGHTS)}")
        return _RIGHTS[right]

    def _digest(self, token: str, path: str) -> bytes:
        match = _DIGEST.fullmatch(token)
        if match is None:
            words = "a token stands here as its SHA-256, 64 lower-case hexadecimal digits: hanas client-token new"
            self._refuse(path, words)
        if match[1] == _OF_NOTHING:
            self._refuse(path, "this is the SHA-256 of an empty token")
        return bytes.fromhex(match[1])

    def _prefix(self, prefix: str, path: str) -> bytes:
        try:
            return prefix.encode()
        except UnicodeEncodeError:
            self._refuse(path, "this is no text that a key may begin with")

    def _require_plain(self, text: str) -> None:
        """Refuse what could make much of little, or take long: aliases, and what is nested deeply."""
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                self._refuse_at(_line_of(event.start_mark), "", "aliases are not taken: write it out")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _MOST_DEPTH:
                self._refuse_at(_line_of(event.start_mark), "", "this is nested too deeply")

    def _require_no_key_twice(self, node: yaml.Node, path: str) -> None:
        if isinstance(node, yaml.SequenceNode):
            for place, item in enumerate(node.value):
                self._require_no_key_twice(item, f"{path}[{place}]")
        elif isinstance(node, yaml.MappingNode):
            seen = set()
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    self._refuse_at(key.start_mark.line, path, "a name is expected here")
                if key.value in seen:
                    self._refuse_at(key.start_mark.line, path, f"{key.value[:80]!r} stands here twice")
                seen.add(key.value)
                self._require_no_key_twice(value, f"{path}.{key.value}")

    def _refuse(self, path: str, words: str) -> NoReturn:
        self._refuse_at(_line(self._root, path), path, words)

    @staticmethod
    def _refuse_at(line: int | None, path: str, words: str) -> NoReturn:
        at = [] if line is None else [f"line {line + 1}"]
        field = [path.lstrip(".")] if path else []
        raise ClientsError(": ".join([*at, *field, words])) from None


def _identities(described: Described, path: str) -> Iterator[tuple[object, str]]:
    """Yield what no other principal may have, and where it stands."""
    yield ("name", described.name), f"{path}.name"
    for kind, values in (
        ("tokens", tuple(token.removeprefix("sha256:") for token in described.tokens)),
        ("certificates", described.certificates),
        ("accessKeys", described.access_keys),
    ):
        for place, value in enumerate(values):
            yield (kind, value), f"{path}.{kind}[{place}]"


def _line(node: yaml.Node, path: str) -> int:
    """Return the line, from 0, of the field at ``path``, or of what it should stand in."""
    for name, place in _STEP.findall(path):
        if isinstance(node, yaml.MappingNode):
            following = next((value for key, value in node.value if key.value == name), None)
        elif isinstance(node, yaml.SequenceNode) and place and int(place) < len(node.value):
            following = node.value[int(place)]
        else:
            following = None
        if following is None:
            break
        node = following
    line: int = node.start_mark.line
    return line


def _line_of(mark: Any) -> int | None:
    return None if mark is None else int(mark.line)

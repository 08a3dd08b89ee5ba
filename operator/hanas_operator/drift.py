"""The difference between an object in the cluster and the desired one.

The API server adds fields, such as defaults, and others may add labels and annotations: these stay. Maps whose entries
have a meaning of their own, and lists, must have the desired entries only: one more key in a Service's selector, and no
pod matches it.
"""

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

from hanas_operator import quantities

_AMOUNTS = frozenset({"requests", "limits"})
_SELECTORS = frozenset({"selector", "matchLabels", "podSelector", "namespaceSelector", "labelSelector", "nodeSelector"})
_MAPS = _SELECTORS | _AMOUNTS | {"data"}
_UNIONS = frozenset({"updateStrategy"})
"""Maps whose entries go with their ``type``: they are changed as a whole."""
_LABELS_OF_PODS = ("template", "metadata", "labels")
_OWNERS = "ownerReferences"
Path = tuple[str, ...]


def contains(actual: Any, desired: Any, path: Path = ()) -> bool:
    """Return whether ``actual`` is as desired."""
    match desired:
        case dict():
            return (
                isinstance(actual, dict)
                and all(
                    contains(actual[key], value, (*path, key)) if key in actual else value in ({}, [], "")
                    for key, value in desired.items()
                )
                and not set(_extra(actual, desired, path))
            )
        case list() if path[-1:] == (_OWNERS,):
            return isinstance(actual, list) and all(any(contains(one, each) for one in actual) for each in desired)
        case list():
            return isinstance(actual, list) and all(
                contains(one, other, path) for one, other in zip_longest(actual, desired)
            )
        case _:
            return actual == desired or _is_same_text(actual, desired) or _is_same_amount(actual, desired, path)


def removals(actual: Any, desired: Any, path: Path = ()) -> dict[str, Any]:
    """Return the merge patch (RFC 7396) that takes away what an apply leaves there, since it is another one's.

    A list with too much in it is replaced as a whole.
    """
    patch: dict[str, Any] = dict.fromkeys(_extra(actual, desired, path))
    for key, value in desired.items():
        there, inner = actual.get(key), (*path, key)
        if isinstance(value, dict) and isinstance(there, dict):
            if below := removals(there, value, inner):
                patch[key] = {**below, **value} if key in _UNIONS else below
        elif isinstance(value, list) and isinstance(there, list) and key != _OWNERS:
            pairs = zip(there, value, strict=False)
            if len(there) > len(value) or any(
                isinstance(one, dict) and removals(one, other, inner) for one, other in pairs
            ):
                patch[key] = value
    return patch


def _extra(actual: dict[str, Any], desired: dict[str, Any], path: Path) -> Iterator[str]:
    """Yield the entries of a map that are not desired."""
    if path[-1:] and (path[-1] in _MAPS | _UNIONS or path[-3:] == _LABELS_OF_PODS):
        yield from (key for key in actual if key not in desired)


def _is_same_text(actual: Any, desired: Any) -> bool:
    """Return whether number and text are the same."""
    return type(actual) is not type(desired) and str(actual) == str(desired)


def _is_same_amount(actual: Any, desired: Any, path: Path) -> bool:
    if len(path) < 2 or path[-2] not in _AMOUNTS:
        return False
    return quantities.amount(actual) == quantities.amount(desired) >= 0

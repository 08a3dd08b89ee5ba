"""The part of CEL (Common Expression Language) that the rules of the HANas resource use: parsed, and evaluated.

Enough to see that every rule is well-formed and means what it should; the API server is the judge of the rest.
"""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from hanas_operator import durations

Scope = dict[str, Any]
Expression = Callable[[Scope], Any]
_TOKEN = re.compile(r"\s*(?:('(?:[^'\\]|\\.)*')|(\d+)|(\w+)|(&&|\|\||[!=<>]=|[-!<>().,?:\[\]]))")
_SUFFIXES = {"": Decimal(1), "m": Decimal("0.001")}
_SUFFIXES |= {unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", 1)}
_SUFFIXES |= {f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", 1)}
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)([a-zA-Z]*)")


def evaluate(rule: str, **scope: Any) -> bool:
    """Return what ``rule`` says. Raises SyntaxError, KeyError for a field that is not there."""
    result = parse(rule)(scope)
    assert isinstance(result, bool), rule
    return result


def parse(rule: str) -> Expression:
    """Return the expression. Raises SyntaxError."""
    parser = _Parser(rule)
    expression = parser.either()
    parser.end()
    return expression


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[str] = []
        place = 0
        while text[place:].strip():
            found = _TOKEN.match(text, place)
            if found is None:
                raise SyntaxError(f"{text!r}: at {text[place:]!r}")
            self._tokens.append(found.group().strip())
            place = found.end()

    def _peek(self) -> str:
        return self._tokens[0] if self._tokens else ""

    def _take(self, *wanted: str) -> str:
        token = self._peek()
        if not token or (wanted and token not in wanted):
            raise SyntaxError(f"{self._text!r}: {token!r} instead of {' or '.join(wanted)}")
        return self._tokens.pop(0)

    def end(self) -> None:
        if self._tokens:
            raise SyntaxError(f"{self._text!r}: {self._tokens} is left")

    def either(self) -> Expression:
        found = self._both()
        while self._peek() == "||":
            self._take()
            found = _or(found, self._both())
        return found

    def _both(self) -> Expression:
        found = self._relation()
        while self._peek() == "&&":
            self._take()
            found = _and(found, self._relation())
        return found

    def _relation(self) -> Expression:
        left = self._unary()
        operator = self._peek()
        if operator not in _RELATIONS:
            return left
        self._take()
        right = self._unary()
        return lambda scope: _RELATIONS[operator](left(scope), right(scope))

    def _unary(self) -> Expression:
        if self._peek() == "!":
            self._take()
            inner = self._unary()
            return lambda scope: not inner(scope)
        found = self._primary()
        while self._peek() == ".":
            self._take()
            found = self._member(found)
        return found

    def _member(self, of: Expression) -> Expression:
        name = self._take()
        if self._peek() != "(":
            return lambda scope: of(scope)[name]
        self._take("(")
        if name == "all":
            variable = self._take()
            self._take(",")
            each = self.either()
            self._take(")")
            return lambda scope: all(each({**scope, variable: one}) for one in of(scope))
        arguments = self._arguments()
        return lambda scope: _METHODS[name](of(scope), *(argument(scope) for argument in arguments))

    def _arguments(self) -> list[Expression]:
        found: list[Expression] = []
        while self._peek() != ")":
            found.append(self.either())
            if self._peek() == ",":
                self._take()
        self._take(")")
        return found

    def _primary(self) -> Expression:
        token = self._take()
        if token == "(":
            inner = self.either()
            self._take(")")
            return inner
        if token.startswith("'"):
            return lambda _: token[1:-1].replace("\\\\", "\\")
        if token.isdigit():
            return lambda _: int(token)
        if self._peek() != "(":
            return lambda scope: scope[token]
        self._take("(")
        if token == "has":
            return self._has()
        arguments = self._arguments()
        return lambda scope: _FUNCTIONS[token](*(argument(scope) for argument in arguments))

    def _has(self) -> Expression:
        path = [self._take()]
        while self._peek() == ".":
            self._take()
            path.append(self._take())
        self._take(")")

        def has(scope: Scope) -> bool:
            node: Any = scope
            for step in path[:-1]:
                node = node[step]
            return path[-1] in node

        return has


def _or(left: Expression, right: Expression) -> Expression:
    return lambda scope: left(scope) or right(scope)


def _and(left: Expression, right: Expression) -> Expression:
    return lambda scope: left(scope) and right(scope)


def _is_quantity(text: str) -> bool:
    found = _QUANTITY.fullmatch(text)
    return found is not None and found[2] in _SUFFIXES


def _quantity(text: str) -> Decimal:
    found = _QUANTITY.fullmatch(text)
    assert found is not None, text
    return Decimal(found[1]) * _SUFFIXES[found[2]]


_RELATIONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
    "in": lambda left, right: left in right,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "int": int,
    "duration": durations.seconds,
    "isQuantity": _is_quantity,
    "quantity": _quantity,
}
_METHODS: dict[str, Callable[..., Any]] = {
    "size": len,
    "matches": lambda text, pattern: re.search(pattern, text) is not None,
    "startsWith": str.startswith,
    "substring": lambda text, start: text[start:],
    "isGreaterThan": lambda one, other: one > other,
    "compareTo": lambda one, other: (one > other) - (one < other),
}

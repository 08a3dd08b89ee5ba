"""manifests/lint.py: what counts as an error of all that checkov says, and which objects it is asked about."""

import pytest
import yaml
from manifests import lint, render
from manifests.lint import Objection

LIMITS = Objection("CKV_1", "Pod.shop.demo", "limits")
EXCEPTIONS = {"CKV_1": {"why": "w", "objects": ["Pod.shop.*"]}}


@pytest.mark.parametrize(
    ("found", "complete", "wrong"),
    [
        ([LIMITS], True, []),
        ([LIMITS, LIMITS._replace(check="CKV_2")], True, ["Pod.shop.demo: CKV_2: limits"]),
        ([LIMITS, LIMITS._replace(resource="Pod.a.b")], True, ["Pod.a.b: CKV_1: limits"]),
        ([], False, []),
        ([], True, ["manifests/exceptions.yaml: CKV_1, Pod.shop.*: nothing needs this exception"]),
    ],
)
def test_an_objection_without_an_exception_is_wrong_and_the_reverse(
    found: list[Objection], complete: bool, wrong: list[str]
) -> None:
    assert lint.judge(found, EXCEPTIONS, complete=complete) == wrong


def test_every_exception_says_why() -> None:
    exceptions = yaml.safe_load(lint.EXCEPTIONS.read_text(encoding="utf-8"))
    assert all(entry["why"] and entry["objects"] for entry in exceptions.values())


def test_what_the_operator_makes_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "helm", lambda: None)
    shipped = dict(lint.shipped())
    assert {"install.yaml", "examples-production.yaml"} <= shipped.keys()
    made = [document["kind"] for document in shipped["made-of-examples-production.yaml"]]
    assert {"StatefulSet", "Deployment", "NetworkPolicy", "Secret"} <= set(made)

"""docs/fields.md, the reference of the resources' fields."""

import re

from docs import fields

from hanas_operator import rules
from hanas_operator.spec import HANasSpec
from hanas_operator.status import HANasStatus
from tests.unit.packaging.documents import ROOT


def test_the_page_is_that_of_the_definitions() -> None:
    assert fields.PAGE.read_text(encoding="utf-8") == fields.rendered(), "run: make fields"


def test_every_field_of_the_resource_is_on_it() -> None:
    listed = set(re.findall(r"^\| `([A-Za-z]+)` \|", fields.rendered(), re.MULTILINE))
    assert {*HANasSpec.__struct_encode_fields__, *HANasStatus.__struct_encode_fields__} <= listed
    assert '| `storage.size` | string | `"1Gi"` |' in fields.rendered()


def test_every_field_has_a_meaning() -> None:
    rows = [line for line in fields.rendered().splitlines() if line.startswith("| `") and line.count(" | ") >= 3]
    assert [row for row in rows if row.endswith("|  |")] == []


def test_the_fields_of_kubernetes_are_fields() -> None:
    rows = re.findall(r"^\| `([^`]+)` \| (?:list: )?as in Kubernetes", fields.rendered(), re.MULTILINE)
    assert {row.rpartition(".")[2] for row in rows} == fields.KUBERNETES


def test_every_rule_is_told_once() -> None:
    told = fields.rendered()
    for rule in rules.OBJECT + rules.STORAGE:
        assert f"| {rule.message.replace('|', chr(92) + '|')} |" in told


def test_every_kind_of_the_chart_is_on_it() -> None:
    described = set(re.findall(r"^## (\w+)$", fields.rendered(), re.MULTILINE))
    chart = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "charts/hanas/files").glob("*crd*.yaml"))
    assert described == set(re.findall(r"^\s*kind: (\w+)$", chart, re.MULTILINE))

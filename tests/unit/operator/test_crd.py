"""The CustomResourceDefinition: structural, true to the types, with rules that say what they should."""

from collections.abc import Iterator
from typing import Any

import pytest

from hanas_operator import crd, link_failure, rules, spec
from hanas_operator.link_failure import FailureCondition, LinkFailureStatus
from hanas_operator.objects.owner import Owner
from hanas_operator.plain import plain
from hanas_operator.spec import HANasSpec
from hanas_operator.status import ConditionType, HANasStatus
from tests.unit.operator import cel, schemas
from tests.unit.operator.making import SCHEMA, failure, owner

VERSION = crd.definition()["spec"]["versions"][0]
SPEC = SCHEMA["properties"]["spec"]
FAILURES = crd.link_failures()["spec"]["versions"][0]
FAILURE = FAILURES["schema"]["openAPIV3Schema"]
FAILURE_SPEC = FAILURE["properties"]["spec"]
# Kubernetes documentation, "Specifying a structural schema".
ALLOWED = {
    *("type", "description", "properties", "required", "items", "additionalProperties", "default", "enum", "pattern"),
    *("minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "format", "anyOf"),
    *("maxProperties", "x-kubernetes-preserve-unknown-fields"),
    *("x-kubernetes-validations", "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-int-or-string"),
}


TYPES = {"object", "array", "string", "integer", "boolean"}


def levels(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from levels(inner, f"{path}.{name}")
    for name in ("items", "additionalProperties"):
        if name in schema:
            yield from levels(schema[name], f"{path}[]")


@pytest.mark.parametrize(("path", "schema"), [*levels(SCHEMA), *levels(FAILURE, "failure")])
def test_every_level_is_structural(path: str, schema: dict[str, Any]) -> None:
    assert set(schema) <= ALLOWED, path
    assert schema.get("x-kubernetes-int-or-string") or schema["type"] in TYPES, path
    if schema.get("type") == "array":
        assert "items" in schema, path
    assert not ("properties" in schema and "additionalProperties" in schema), path


@pytest.mark.parametrize("path", [path for path, _ in levels(SPEC) if path and not path.endswith("[]")])
def test_every_field_that_is_not_kubernetes_own_is_described(path: str) -> None:
    schema = dict(levels(SPEC))[path]
    borrowed = (
        ".tolerations",
        ".affinity",
        ".topologySpreadConstraints",
        ".resources",
        ".overseer.resources",
        ".env[].",
        ".clients[].podSelector.",
        ".clients[].namespaceSelector.",
    )
    if not path.startswith(borrowed) and not path.endswith("[].name"):
        assert schema.get("description"), path


def test_the_defaults_of_the_schema_are_those_of_the_types() -> None:
    complete = schemas.with_defaults(SPEC, {})
    assert schemas.errors(SPEC, complete) == []
    assert spec.read(complete) == HANasSpec() == spec.read({})


def test_a_complete_spec_survives_the_types() -> None:
    given = {
        "workers": 5,
        "storage": {"storageClassName": "nfs", "size": "10Gi", "subPath": "a/b"},
        "overseer": {"replicas": 3, "resources": {"limits": {"cpu": 1, "memory": "1Gi"}}},
        "preset": "cloud",
        "isolationPolicy": "StepDown",
        "backups": "serve",
        "linkFailures": [failure(duration="30s", direction="to", planes=["client", "link"])],
        "image": "hanas:1",
        "clientTokenSecret": {"name": "tokens", "key": "all"},
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "a", "operator": "Exists", "tolerationSeconds": 3}],
        "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": [{"key": "x", "operator": "In", "values": ["y"]}]}]
                }
            }
        },
    }
    assert schemas.errors(SPEC, given) == []
    read = spec.read(given)
    written = plain(read)
    assert {name: written[name] for name in given} == given


def test_a_status_fits_its_schema() -> None:
    assert schemas.errors(SCHEMA["properties"]["status"], plain(HANasStatus())) == []


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"wrokers": 3}, ".wrokers: unknown field"),
        ({"workers": -1}, ".workers: must be from 0 to 100"),
        ({"workers": "three"}, ".workers: must be integer"),
        ({"preset": "wan"}, ".preset: must be one of"),
        ({"storage": {"size": "-1Gi"}}, ".storage.size: must match"),
        ({"linkFailures": [failure(duration="-3s")]}, ".linkFailures[0].duration: must match"),
        ({"linkFailures": [failure(source="node-1")]}, ".linkFailures[0].source: must match"),
        ({"linkFailures": [failure(), failure()]}, ".linkFailures: duplicate"),
        ({"linkFailures": [failure(planes=[])]}, ".linkFailures[0].planes: wrong number"),
        ({"linkFailures": [{"name": "a", "source": "worker-0"}]}, ".linkFailures[0].target: is required"),
        ({"sidecars": [{"image": "a"}]}, ".sidecars[0].name: is required"),
        ({"env": [{"name": "A"}, {"name": "A"}]}, ".env: duplicate"),
        ({"advertiseUrl": "http://example.com"}, ".advertiseUrl: must match"),
        ({"etcd": {"port": 443}}, ".etcd.port: must be from 1024 to 65535"),
        ({"etcd": {"url": "http://a"}}, ".etcd.url: unknown field"),
        ({"services": {"main": {"type": "ExternalName"}}}, ".services.main.type: must be one of"),
        ({"clients": [{"ipBlock": {"cidr": "everybody"}}]}, ".clients[0].ipBlock.cidr: must match"),
        ({"affinity": {"nodeAffinity": {"x": 1}}}, ".affinity.nodeAffinity.x: unknown field"),
        ({"podSecurityContext": {"runAsUser": 0}}, ".podSecurityContext.runAsUser: must be from 1"),
    ],
)
def test_the_schema_refuses(given: dict[str, Any], told: str) -> None:
    found = schemas.errors(SPEC, given)
    assert found
    assert found[0].startswith(told)


BACKUP, SCHEDULED_BACKUP = (
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for definition in (crd.backups(), crd.scheduled_backups())
)


@pytest.mark.parametrize(
    ("path", "schema"),
    [*levels(BACKUP, "backup"), *levels(SCHEDULED_BACKUP, "schedule")],
)
def test_the_schemas_of_backups_are_structural_and_described(path: str, schema: dict[str, Any]) -> None:
    assert set(schema) <= ALLOWED
    assert schema["type"] in TYPES
    known = (".metadata", ".kind", ".apiVersion")
    assert schema.get("description") or schema.get("format") == "date-time" or path.endswith(known)


ONE_SOURCE = ["give the name of a HANasBackup, that of a VolumeSnapshot, or target and file"]


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ({"backup": "first"}, []),
        ({"target": {"claim": {"name": "b"}}, "file": "demo.x-20260101000000.hanas"}, []),
        ({"volumeSnapshot": "first"}, []),
        ({"target": {"claim": {"name": "b"}}}, ONE_SOURCE),
        ({"backup": "first", "file": "x"}, ONE_SOURCE),
        ({"backup": "first", "volumeSnapshot": "first"}, ONE_SOURCE),
        ({"target": {"claim": {"name": "b"}}, "file": "x", "volumeSnapshot": "first"}, ONE_SOURCE),
        ({}, ONE_SOURCE),
    ],
)
def test_what_a_hanas_is_restored_from(source: dict[str, Any], told: list[str]) -> None:
    assert schemas.errors(SPEC, {"bootstrap": {"fromBackup": source}}) == []
    assert refused(rules.SOURCE, source) == told


def test_a_backup_is_made_once() -> None:
    spec = {"hanas": "demo", "target": {"claim": {"name": "backups"}}}
    assert schemas.errors(BACKUP["properties"]["spec"], spec) == []
    assert refused(rules.ONCE, spec, spec) == []
    assert refused(rules.ONCE, {**spec, "hanas": "other"}, spec) != []
    assert refused(rules.TARGET, {}) == ["give either claim or s3"]
    assert refused(rules.METHOD, {"method": "Archive", "target": {}}) == []
    assert refused(rules.METHOD, {"method": "VolumeSnapshot", "volumeSnapshotClassName": "fast"}) == []
    assert "storage driver decides" in refused(rules.METHOD, {"method": "VolumeSnapshot", "target": {}})[0]
    assert "for the method" in refused(rules.METHOD, {"method": "Archive", "volumeSnapshotClassName": "fast"})[0]
    assert refused(rules.SERIES, {"method": "Archive", "series": "s", "keep": 1}) == []
    assert refused(rules.SERIES, {"method": "VolumeSnapshot", "keep": 1}) != []
    assert refused(rules.SERIES, {"method": "VolumeSnapshot"}) == []
    assert refused(rules.BACKUP_NAME, {"metadata": {"name": "x" * 57}}) != []
    assert refused(rules.SCHEDULE_NAME, {"metadata": {"name": "x" * 40}}) == []


ALL_RULES = [
    rule
    for group in (
        rules.OBJECT,
        rules.SPEC,
        rules.STORAGE,
        rules.SIZE,
        rules.FAILURE,
        rules.DURATION,
        rules.LASTING,
        rules.FIXED,
        rules.PEER,
        rules.SETTING,
        rules.VARIABLE,
        rules.TARGET,
        rules.SOURCE,
        rules.ONCE,
        rules.METHOD,
        rules.SERIES,
        rules.BACKUP_NAME,
        rules.SCHEDULE_NAME,
        rules.TLS,
        rules.ETCD_PORT,
    )
    for rule in group
]


@pytest.mark.parametrize("rule", ALL_RULES)
def test_every_rule_is_well_formed_and_short_enough_to_read(rule: rules.Rule) -> None:
    cel.parse(rule.rule)
    assert "\n" not in rule.message
    assert len(rule.message) < 200


def test_every_rule_is_in_the_schema() -> None:
    everything = [level for schema in (SCHEMA, FAILURE, BACKUP, SCHEDULED_BACKUP) for level in levels(schema)]
    there = {rule["rule"] for _, schema in everything for rule in schema.get("x-kubernetes-validations", [])}
    assert there == {rule.rule for rule in ALL_RULES}


def refused(group: tuple[rules.Rule, ...], now: Any, before: Any = None) -> list[str]:
    """Return the messages of the rules that do not hold; rules about changes need a value of before."""
    scope = {"self": now} if before is None else {"self": now, "oldSelf": before}
    wanted = [rule for rule in group if before is not None or "oldSelf" not in rule.rule]
    return [rule.message for rule in wanted if not cel.evaluate(rule.rule, **scope)]


@pytest.mark.parametrize(
    ("given", "held"),
    [
        ({}, True),
        ({"linkFailures": [failure()]}, True),
        ({"linkFailures": [failure(target="worker-2")]}, True),
        ({"linkFailures": [failure(target="*"), failure("b", target="overseer", planes=["client"])]}, True),
        ({"linkFailures": [failure(target="worker-3")]}, False),
        ({"linkFailures": [failure(source="worker-3")]}, False),
        ({"workers": 1, "linkFailures": [failure()]}, False),
        ({"workers": 0, "linkFailures": [failure()]}, True),
        ({"storage": {"existingClaim": "a"}, "reclaim": "Delete"}, False),
        ({"storage": {"existingClaim": "a"}}, True),
        ({"reclaim": "Delete"}, True),
    ],
)
def test_the_spec_as_a_whole(given: dict[str, Any], held: bool) -> None:
    assert (refused(rules.SPEC, schemas.with_defaults(SPEC, given)) == []) is held


@pytest.mark.parametrize(
    ("given", "held"),
    [
        ({"mode": "Managed"}, True),
        ({"mode": "SecretRefs", "secretName": "mine"}, True),
        ({"mode": "SecretRefs"}, False),
        ({"mode": "Managed", "secretName": "mine"}, False),
        ({"mode": "CertManager", "issuerRef": {"name": "house", "kind": "ClusterIssuer"}}, True),
        ({"mode": "CertManager"}, False),
        ({"mode": "SecretRefs", "secretName": "mine", "issuerRef": {"name": "house"}}, False),
    ],
)
def test_a_mode_of_tls_goes_with_its_field(given: dict[str, Any], held: bool) -> None:
    assert schemas.errors(SPEC, {"tls": given}) == []
    assert (refused(rules.TLS, given) == []) is held


MANAGED = {"tls": {"mode": "Managed"}}


@pytest.mark.parametrize(
    ("now", "before", "held"),
    [
        (MANAGED, MANAGED, True),
        (MANAGED, {}, False),
        ({}, MANAGED, False),
        (MANAGED, {"tls": {"mode": "SecretRefs", "secretName": "mine"}}, False),
        ({**MANAGED, "workers": 0}, {}, True),
        (MANAGED, {"workers": 0}, True),
        ({**MANAGED, "workers": 5}, MANAGED, True),
    ],
)
def test_tls_changes_while_no_pod_runs(now: dict[str, Any], before: dict[str, Any], held: bool) -> None:
    complete = [schemas.with_defaults(SPEC, one) for one in (now, before)]
    assert (refused(rules.SPEC, *complete) == []) is held


def test_redirects_lead_to_https_if_there_is_tls() -> None:
    addresses = {"http://{member}.a.org": False, "https://{member}.a.org": True}
    for url, held in addresses.items():
        complete = schemas.with_defaults(SPEC, {**MANAGED, "advertiseUrl": url})
        assert (refused(rules.SPEC, complete) == []) is held
    assert refused(rules.SPEC, schemas.with_defaults(SPEC, {"advertiseUrl": "http://{member}.a.org"})) == []


def test_encryption_stays_once_it_is_there() -> None:
    without, keys = schemas.with_defaults(SPEC, {}), schemas.with_defaults(SPEC, {"encryption": {"secretName": "keys"}})
    assert keys["encryption"] == {"secretName": "keys", "key": "keys"}
    assert refused(rules.SPEC, keys, without) == []
    assert len(refused(rules.SPEC, without, keys)) == 1


def test_the_default_of_the_spec_passes_before_defaults_are_set_in_it() -> None:
    assert refused(rules.SPEC, {}) == []


@pytest.mark.parametrize(
    ("more", "held"),
    [
        ({}, True),
        ({"target": "worker-0"}, False),
        ({"target": "overseer", "planes": ["client"], "direction": "to"}, True),
        ({"target": "overseer", "planes": ["link"]}, False),
        ({"target": "overseer", "planes": ["client"], "direction": "from"}, False),
    ],
)
def test_a_link_failure(more: dict[str, Any], held: bool) -> None:
    schema = SPEC["properties"]["linkFailures"]["items"]
    assert (refused(rules.FAILURE, schemas.with_defaults(schema, {**failure(), **more})) == []) is held


WIRE = {"hanas": "demo", "source": "worker-0", "target": "worker-1"}


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({}, []),
        ({"name": "wire"}, ["spec.name: unknown field"]),
        ({"duration": "1d"}, ["spec.duration: must match"]),
        ({"source": "node-1"}, ["spec.source: must match"]),
        ({"planes": []}, ["spec.planes: wrong number"]),
    ],
)
def test_the_schema_of_a_link_failure_of_its_own(more: dict[str, Any], told: list[str]) -> None:
    complete = schemas.with_defaults(FAILURE_SPEC, {**WIRE, **more})
    found = schemas.errors(FAILURE_SPEC, complete, "spec")
    assert [one.startswith(words) for one, words in zip(found, told, strict=True)] == [True] * len(told)
    assert FAILURE["required"] == ["spec"]
    assert all(schema.get("description") for path, schema in levels(FAILURE_SPEC) if path and "[]" not in path)


def test_a_link_failure_of_its_own_is_read_as_it_is_written() -> None:
    complete = schemas.with_defaults(FAILURE_SPEC, WIRE)
    assert link_failure.read_spec(complete) == link_failure.read_spec(WIRE)
    assert complete["duration"] == "1m"
    assert schemas.errors(FAILURE["properties"]["status"], plain(LinkFailureStatus())) == []


@pytest.mark.parametrize(
    ("change", "held"),
    [
        ({}, True),
        ({"duration": "2m"}, True),
        ({"hanas": "other"}, False),
        ({"target": "worker-2"}, False),
        ({"direction": "to"}, False),
        ({"planes": ["client"]}, False),
    ],
)
def test_of_a_link_failure_of_its_own_only_the_duration_changes(change: dict[str, Any], held: bool) -> None:
    before = schemas.with_defaults(FAILURE_SPEC, WIRE)
    assert (refused(rules.FIXED, {**before, **change}, before) == []) is held


@pytest.mark.parametrize(("text", "held"), [("30s", True), ("24h", True), ("24h1s", False), ("1000h", False)])
def test_a_link_failure_of_its_own_ends_within_a_day(text: str, held: bool) -> None:
    assert (refused(rules.LASTING, text) == []) is held


@pytest.mark.parametrize(
    ("peer", "held"),
    [
        ({"podSelector": {}}, True),
        ({"namespaceSelector": {}, "podSelector": {}}, True),
        ({"ipBlock": {"cidr": "0.0.0.0/0"}}, True),
        ({"ipBlock": {"cidr": "0.0.0.0/0"}, "podSelector": {}}, False),
        ({}, False),
    ],
)
def test_a_peer_is_pods_or_addresses(peer: dict[str, Any], held: bool) -> None:
    assert (refused(rules.PEER, peer) == []) is held
    assert schemas.errors(SPEC, {"clients": [peer]}) == []


@pytest.mark.parametrize(
    ("now", "before", "held"),
    [
        ({"storageClassName": "nfs"}, {"storageClassName": "nfs"}, True),
        ({"storageClassName": "nfs"}, {"storageClassName": "efs"}, False),
        ({}, {"storageClassName": "efs"}, False),
        ({"existingClaim": "a"}, {}, False),
        ({"existingClaim": "a"}, {"existingClaim": "b"}, False),
        ({"subPath": "a"}, {}, False),
        ({"existingClaim": "a", "storageClassName": "b"}, {"existingClaim": "a", "storageClassName": "b"}, False),
        ({}, {}, True),
    ],
)
def test_the_volume_stays_what_it_is(now: dict[str, Any], before: dict[str, Any], held: bool) -> None:
    assert (refused(rules.STORAGE, now, before) == []) is held


@pytest.mark.parametrize(
    ("now", "before", "sure", "held"),
    [
        ("2Gi", "1Gi", None, True),
        ("1Gi", "1024Mi", None, True),
        ("1G", "1Gi", None, False),
        ("1Gi", "10Gi", None, False),
        ("1Gi", "10Gi", "1Gi", True),
        ("1024Mi", "10Gi", "1Gi", True),
        ("1G", "10Gi", "1Gi", False),
        ("5Gi", "10Gi", "10Gi", False),
    ],
)
def test_a_volume_only_grows_but_a_growth_that_did_not_happen_can_be_taken_back(
    now: str, before: str, sure: str | None, held: bool
) -> None:
    def resource(size: str) -> dict[str, Any]:
        status = {} if sure is None else {"claimSize": sure}
        return {"metadata": {"name": "demo"}, "spec": {"storage": {"size": size}}, "status": status}

    assert (refused(rules.OBJECT, resource(now), resource(before)) == []) is held
    bare = {"metadata": {"name": "demo"}}
    assert refused(rules.OBJECT, resource(now), bare) == refused(rules.OBJECT, bare, resource(before)) == []


@pytest.mark.parametrize(("text", "held"), [("30s", True), ("1m30s", True), ("0s", False), ("0ms", False)])
def test_a_duration_is_longer_than_nothing(text: str, held: bool) -> None:
    assert (refused(rules.DURATION, text) == []) is held


@pytest.mark.parametrize(
    ("name", "held"),
    [("demo", True), ("a" * 40, True), ("a" * 41, False), ("1a", False), ("a.b", False), ("a-", False)],
)
def test_names_from_which_services_can_be_called(name: str, held: bool) -> None:
    assert (refused(rules.OBJECT, {"metadata": {"name": name}}) == []) is held


def test_paths_of_columns_and_scale_lead_somewhere() -> None:
    fields = {path for path, _ in levels(SCHEMA)}
    scale = VERSION["subresources"]["scale"]
    for path in (*scale.values(), *(column["jsonPath"] for column in VERSION["additionalPrinterColumns"])):
        if ".conditions" in path:
            assert path.split('"')[1] in {kind.value for kind in ConditionType}
        elif not path.startswith(".metadata"):
            assert path in fields


def test_paths_of_the_columns_of_a_link_failure_lead_somewhere() -> None:
    fields = {path for path, _ in levels(FAILURE)}
    for path in (column["jsonPath"] for column in FAILURES["additionalPrinterColumns"]):
        if ".conditions" in path:
            assert path.split('"')[1] in {kind.value for kind in FailureCondition}
        elif not path.startswith(".metadata"):
            assert path in fields


def test_what_the_resource_is_called() -> None:
    names = crd.definition()["spec"]["names"]
    assert (names["shortNames"], names["categories"], names["kind"]) == (["hn"], ["all"], "HANas")
    assert crd.definition()["metadata"]["name"] == f"{names['plural']}.hanas.dev"


def test_an_owner_knows_its_members() -> None:
    made: Owner = owner({"workers": 2})
    assert made.members == ["worker-0", "worker-1"]

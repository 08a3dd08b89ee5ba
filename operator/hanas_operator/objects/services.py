"""The Services, and the limits for draining nodes."""

from msgspec import structs

from hanas_operator import kinds, names
from hanas_operator.fittings import MEMBER, ServiceSpec
from hanas_operator.objects.owner import Manifest, Owner, manifest, stamped
from hanas_operator.plain import plain


def services(owner: Owner) -> list[Manifest]:
    """Return the Services of the overseers, of each worker, of all workers, of the main and of etcd's API."""
    cluster, workers = owner.name, names.selector(owner.name, names.WORKER)
    overseers, http = names.selector(cluster, names.OVERSEER), _port("http", names.WORKER_PORT)
    etcd = [] if owner.etcd_port is None else [_port(names.ETCD, owner.etcd_port)]
    own = {"selector": overseers, "ports": [_port("http", names.OVERSEER_PORT)]}
    # Workers that are not ready have an address too: their peers must reach them.
    each = {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": workers,
        "ports": [http, _port("link", names.LINK_PORT), *etcd],
    }
    # The label alone selects the main, ready or not: clients reach a new main before the kubelet's next probe.
    main = {"selector": {**workers, names.ROLE: names.MAIN}, "publishNotReadyAddresses": True, "ports": [http, *etcd]}
    given = owner.spec.services
    return [
        _service(owner, names.OVERSEER, given.overseer, own, component=names.OVERSEER),
        manifest(owner, kinds.SERVICE, names.of(cluster, names.HEADLESS), component=names.WORKER, spec=each),
        _service(owner, "", given.workers, {"selector": workers, "ports": [http]}),
        _service(owner, names.MAIN, given.main, main),
        *(_service(owner, names.ETCD, given.etcd, {"selector": workers, "ports": [port]}) for port in etcd),
        *_outside(owner, [http, *etcd]),
    ]


def _outside(owner: Owner, ports: list[Manifest]) -> list[Manifest]:
    """Return a Service for each worker, to which redirects lead clients outside the cluster."""
    given = owner.spec.services.each
    if not isinstance(given, ServiceSpec):
        return []
    made = []
    for member in owner.members:
        pod = names.of(owner.name, member)
        selector = {**names.selector(owner.name, names.WORKER), names.POD_NAME: pod}
        spec = {"selector": selector, "publishNotReadyAddresses": True, "ports": ports}
        annotations = {name: value.replace(MEMBER, member) for name, value in given.annotations.items()}
        made.append(_service(owner, member, structs.replace(given, annotations=annotations), spec))
    return made


def _service(owner: Owner, part: str, given: ServiceSpec, spec: Manifest, component: str | None = None) -> Manifest:
    """Return a Service with the type and the annotations that the HANas gives. ``part``: of its name."""
    fields: Manifest = plain(given)
    annotations = fields.pop("annotations", {})
    name = names.of(owner.name, part) if part else owner.name
    service = manifest(owner, kinds.SERVICE, name, component=component, spec={**spec, **fields})
    return stamped(service, annotations) if annotations else service


def _port(name: str, number: int) -> Manifest:
    return {"name": name, "port": number, "targetPort": name, "protocol": "TCP"}


def budgets(owner: Owner) -> list[Manifest]:
    """Return the PodDisruptionBudgets: a drain evicts one pod of each component at a time, and never stalls."""
    return [
        manifest(
            owner,
            kinds.BUDGET,
            names.of(owner.name, component),
            component=component,
            spec={
                "maxUnavailable": 1,
                "selector": {"matchLabels": names.selector(owner.name, component)},
                # A pod that is not ready serves nobody: it must not keep a node from being drained.
                "unhealthyPodEvictionPolicy": "AlwaysAllow",
            },
        )
        for component in (names.WORKER, names.OVERSEER)
    ]

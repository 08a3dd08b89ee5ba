"""The Services, and the limits for draining nodes."""

from hanas_operator import kinds, names
from hanas_operator.objects.owner import Manifest, Owner, manifest


def services(owner: Owner) -> list[Manifest]:
    """Return the Services of the overseers, of each worker, of all workers and of the main."""
    cluster, workers = owner.name, names.selector(owner.name, names.WORKER)
    overseers, http = names.selector(cluster, names.OVERSEER), _port("http", names.WORKER_PORT)
    own = {"selector": overseers, "ports": [_port("http", names.OVERSEER_PORT)]}
    # Workers that are not ready have an address too: their peers must reach them.
    each = {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": workers,
        "ports": [http, _port("link", names.LINK_PORT)],
    }
    # The label alone selects the main, ready or not: clients reach a new main before the kubelet's next probe.
    main = {"selector": {**workers, names.ROLE: names.MAIN}, "publishNotReadyAddresses": True, "ports": [http]}
    return [
        manifest(owner, kinds.SERVICE, names.of(cluster, names.OVERSEER), component=names.OVERSEER, spec=own),
        manifest(owner, kinds.SERVICE, names.of(cluster, names.HEADLESS), component=names.WORKER, spec=each),
        manifest(owner, kinds.SERVICE, cluster, spec={"selector": workers, "ports": [http]}),
        manifest(owner, kinds.SERVICE, names.of(cluster, names.MAIN), spec=main),
    ]


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

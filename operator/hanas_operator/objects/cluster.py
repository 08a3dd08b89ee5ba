"""All objects of a HANas, in the order of their creation."""

from collections.abc import Iterable

from hanas_operator.cuts import LinkCut
from hanas_operator.objects import overseers, policies, services, storage, workers
from hanas_operator.objects.owner import Manifest, Owner


def surroundings(owner: Owner, cuts: Iterable[LinkCut]) -> list[Manifest]:
    """Return all objects except workloads. The policies precede the pods that they protect."""
    volume = [storage.claim(owner), storage.folder(owner)]
    return [
        *(manifest for manifest in volume if manifest is not None),
        *policies.policies(owner, cuts),
        overseers.service(owner),
        workers.headless(owner),
        services.everyone(owner),
        services.main(owner),
        *services.budgets(owner),
    ]


def workloads(owner: Owner) -> list[Manifest]:
    """Return the objects that make pods."""
    return [overseers.deployment(owner), workers.stateful_set(owner)]

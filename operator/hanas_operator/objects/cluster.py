"""All objects of a HANas, in the order in which they are made."""

from collections.abc import Iterable

from hanas_operator.cuts import Cut
from hanas_operator.objects import overseers, policies, services, storage, workers
from hanas_operator.objects.owner import Manifest, Owner


def surroundings(owner: Owner, cuts: Iterable[Cut]) -> list[Manifest]:
    """Return everything but the pods. The policies come before the pods that they protect."""
    kept = [storage.claim(owner), storage.folder(owner)]
    return [
        *(made for made in kept if made is not None),
        *policies.policies(owner, cuts),
        overseers.service(owner),
        workers.headless(owner),
        services.everyone(owner),
        services.main(owner),
        *services.budgets(owner),
    ]


def workloads(owner: Owner) -> list[Manifest]:
    """Return what makes pods."""
    return [overseers.deployment(owner), workers.stateful_set(owner)]

"""All objects of a HANas except workloads, in the order of their creation."""

from collections.abc import Iterable

from hanas_operator.cuts import LinkCut
from hanas_operator.objects import policies, services, storage
from hanas_operator.objects.owner import Manifest, Owner


def surroundings(owner: Owner, cuts: Iterable[LinkCut]) -> list[Manifest]:
    """Return the manifests. The policies precede the pods that they protect."""
    return [
        *storage.volume(owner),
        *policies.policies(owner, cuts),
        *services.services(owner),
        *services.budgets(owner),
    ]

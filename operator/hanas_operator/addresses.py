"""The addresses at which clients outside the cluster reach the Services of a HANas: pure functions."""

from hanas_operator import kinds
from hanas_operator.children import Children
from hanas_operator.fittings import Address
from hanas_operator.objects import services
from hanas_operator.objects.owner import Owner


def of(owner: Owner, existing: Children) -> tuple[Address, ...]:
    """Return what load balancers gave to the Services, and the ports on which every node listens."""
    found: list[Address] = []
    for manifest in services.services(owner):
        name = manifest["metadata"]["name"]
        service = existing.get(kinds.SERVICE, name) or {}
        for port in service.get("spec", {}).get("ports", []):
            points = service.get("status", {}).get("loadBalancer", {}).get("ingress", [])
            hosts = [str(point.get("hostname") or point.get("ip", "")) for point in points]
            found += [Address(service=name, address=host, port=port["port"]) for host in hosts]
            if not hosts and "nodePort" in port:
                found.append(Address(service=name, address="", port=port["nodePort"]))
    return tuple(found)

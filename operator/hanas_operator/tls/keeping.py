"""The certificates of each HANas: made and renewed, asked for, or looked at, as its spec says."""

from datetime import UTC, datetime

from msgspec import UNSET, Struct, UnsetType

from hanas_operator import children, drift, durations, kinds, names, obstacles
from hanas_operator.api import Api, ApiError, Resource
from hanas_operator.kinds import ResourceKind
from hanas_operator.objects.owner import Manifest, Owner, reference
from hanas_operator.obstacles import Obstacle
from hanas_operator.status import Reason, TlsStatus
from hanas_operator.tls import cert_manager, inspecting, issuing, naming, secrets
from hanas_operator.tls.types import IssuerRef, TlsMode, TlsSpec
from hanas_serving import certificates


class Kept(Struct, frozen=True):
    """What the status tells of the certificates, and what is wrong with them."""

    status: TlsStatus | UnsetType = UNSET
    problems: tuple[Obstacle, ...] = ()


class Certificates:
    """Keeps the certificates of one HANas at a time."""

    def __init__(self, api: Api) -> None:
        """Use ``api``."""
        self._api = api

    async def keep(self, owner: Owner, requested: str, now: datetime) -> Kept:
        """Do what is due. ``requested``: another text in it asks for another authority and new certificates.

        Raises ApiError if the API server cannot be reached.
        """
        tls = owner.spec.tls
        if not isinstance(tls, TlsSpec):
            return Kept()
        problem: Obstacle | None = None
        try:
            if tls.mode is TlsMode.MANAGED:
                problem = await self._issue(owner, requested, now)
            elif isinstance(tls.issuer_ref, IssuerRef):
                problem = await self._request(owner, tls.issuer_ref)
            actual = await self._api.get(kinds.SECRET, owner.namespace, owner.tls_secret)
        except ApiError as error:
            return Kept(problems=(obstacles.of(error, "a certificate of this HANas"),))
        problem = problem or _problem(owner, actual, tls.mode, now)
        status = TlsStatus(secret_name=owner.tls_secret)
        if (pair := secrets.pair(actual)) is not None:
            ends = durations.written(certificates.facts(pair.certificate).ends)
            status = TlsStatus(secret_name=owner.tls_secret, expires_at=ends)
        return Kept(status, () if problem is None else (problem,))

    async def _issue(self, owner: Owner, requested: str, now: datetime) -> Obstacle | None:
        """Make and renew the authority and the certificates. Return what keeps the operator from it."""
        leaves = (names.CERTIFICATES, naming.components(owner)), (names.CLIENT_CERTIFICATES, naming.clients(owner))
        existing = {part: await self._take(owner, part) for part in (names.AUTHORITY, *(part for part, _ in leaves))}
        for part, actual in existing.items():
            if actual is not None and not children.is_own(owner, actual):
                return _taken(kinds.SECRET, names.of(owner.name, part))
        present, first = existing[names.AUTHORITY], existing[names.CERTIFICATES]
        published, before = secrets.content(first, secrets.TRUST), _renewal(first)
        forced = first is not None and requested not in {"", before}
        authority = issuing.advance(secrets.authority(present), owner.name, now, published, forced=forced)
        await self._write(present, secrets.of_authority(owner, authority))
        renewal = requested or before
        for part, leaf in reversed(leaves):  # that of the pods, which remembers the renewal, comes last
            actual = existing[part]
            pair = issuing.renewed(secrets.pair(actual), authority, leaf, now, forced=forced)
            name = names.of(owner.name, part)
            await self._write(actual, secrets.of_leaf(owner, name, pair, authority.trust, renewal))
        return None

    async def _take(self, owner: Owner, part: str) -> Resource | None:
        """Return a Secret, None if there is none. One that cert-manager made for this HANas is taken from it."""
        actual = await self._find(owner, part)
        if actual is None or not children.is_own(owner, actual) or not cert_manager.made_for(actual):
            return actual
        request = await self._api.get(kinds.CERTIFICATE, owner.namespace, cert_manager.made_for(actual))
        if request is not None and children.is_own(owner, request):
            await self._api.delete(kinds.CERTIFICATE, *names.metadata(request), request["metadata"]["uid"])
        return await self._mark(owner, actual, annotations={cert_manager.CERTIFICATE_NAME: None})

    async def _find(self, owner: Owner, part: str) -> Resource | None:
        return await self._api.get(kinds.SECRET, owner.namespace, names.of(owner.name, part))

    async def _mark(
        self,
        owner: Owner,
        actual: Resource,
        request: Resource | None = None,
        annotations: dict[str, None] | None = None,
    ) -> Resource:
        """Have a Secret of cert-manager deleted when the HANas is gone, and so is ``request``, its Certificate.

        Were it deleted before that, cert-manager would make it anew, for nobody. ``annotations``: those to remove.
        """
        owners = [reference(kinds.HANAS, owner.name, owner.uid)]
        if request is not None:
            name, uid = (request["metadata"][field] for field in ("name", "uid"))
            owners.append(reference(kinds.CERTIFICATE, name, uid) | {"controller": False})
        if annotations is None and _owners(actual) == {one["uid"] for one in owners}:
            return actual
        meta = {field: actual["metadata"][field] for field in ("uid", "resourceVersion")}
        meta |= {"ownerReferences": owners, "annotations": annotations or {}}
        return await self._api.merge(kinds.SECRET, *names.metadata(actual), {"metadata": meta})

    async def _write(self, actual: Resource | None, manifest: Manifest) -> None:
        if actual is None:
            await self._api.create(kinds.SECRET, manifest)
            return
        meta = {"annotations": manifest["metadata"]["annotations"]}
        if not drift.contains(actual, {"metadata": meta, "data": manifest["data"]}):
            meta |= {field: actual["metadata"][field] for field in ("uid", "resourceVersion")}
            body = {"metadata": meta, "data": manifest["data"]}
            await self._api.merge(kinds.SECRET, *names.metadata(manifest), body)

    async def _request(self, owner: Owner, issuer: IssuerRef) -> Obstacle | None:
        """Have cert-manager make the certificates. Return what keeps it from that."""
        problem: Obstacle | None = None
        for manifest in cert_manager.requests(owner, issuer):
            name = manifest["metadata"]["name"]
            actual = await self._api.get(kinds.CERTIFICATE, owner.namespace, name)
            secret = await self._api.get(kinds.SECRET, owner.namespace, name)
            if actual is None:
                if secret is not None and not _is_for(owner, secret, name):
                    return _taken(kinds.SECRET, name)
                try:
                    actual = await self._api.create(kinds.CERTIFICATE, manifest)
                except ApiError as error:
                    if error.status == 404:
                        return _NO_CERT_MANAGER
                    raise
            if not children.is_own(owner, actual):
                return _taken(kinds.CERTIFICATE, name)
            if not drift.contains(actual, manifest):
                actual = await self._api.apply(kinds.CERTIFICATE, manifest)
            if secret is not None and children.is_own(owner, secret):
                await self._mark(owner, secret, actual)
            if (trouble := cert_manager.trouble(actual)) and problem is None:
                words = f"the Certificate {name}: cert-manager has not made it: {trouble}"
                advice = f"kubectl describe certificate {name}, and its certificaterequest, tell more"
                problem = Obstacle(Reason.CERTIFICATES_MISSING, f"{words}; {advice}")
        return problem


def _owners(resource: Resource) -> set[str]:
    return {one["uid"] for one in resource["metadata"].get("ownerReferences", [])}


def _renewal(actual: Resource | None) -> str:
    annotations = {} if actual is None else actual["metadata"].get("annotations") or {}
    return str(annotations.get(names.RENEWAL, ""))


_NO_CERT_MANAGER = Obstacle(
    Reason.CERTIFICATES_MISSING,
    "this cluster does not know Certificates of cert-manager.io/v1: install cert-manager, or make this HANas with "
    "spec.tls.mode Managed",
)


def _problem(owner: Owner, actual: Resource | None, mode: TlsMode, now: datetime) -> Obstacle | None:
    """Return what is wrong with the Secret that the pods mount."""
    name = owner.tls_secret
    advice = "make it with tls.crt, tls.key and ca.crt" if mode is TlsMode.SECRET_REFS else "cert-manager makes it"
    if actual is None:
        return Obstacle(Reason.CERTIFICATES_MISSING, f"there is no Secret {name} with the certificate: {advice}")
    if words := inspecting.trouble(actual, naming.needed(owner), now.astimezone(UTC)):
        whose = "replace it" if mode is TlsMode.SECRET_REFS else "see its issuer"
        return Obstacle(
            Reason.CERTIFICATES_UNUSABLE,
            f"the Secret {name} cannot be used: {words}: {whose}; pods that run keep the certificate that they have",
        )
    return None


def _is_for(owner: Owner, secret: Resource, name: str) -> bool:
    """Return whether cert-manager may write into a Secret: it is of this HANas, or was made for such a Certificate."""
    return children.is_own(owner, secret) or cert_manager.made_for(secret) == name


def _taken(kind: ResourceKind, name: str) -> Obstacle:
    words = f"the {kind.kind} {name} exists already and does not belong to this HANas: it is left unchanged; delete it"
    return Obstacle(Reason.NAME_TAKEN, f"{words}, or give the HANas another name")

"""The Kubernetes API as the operator uses it: plain dicts, server-side apply, errors with the server's messages.

Built on the asyncio version of the official client, which connects and authenticates; its typed models are not used.
"""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from kubernetes.aio.client import ApiClient

from hanas_operator import names
from hanas_operator.kinds import ResourceKind
from hanas_operator.queue import ExpectedError

Resource = dict[str, Any]
TIMEOUT_SECONDS = 20.0
CONNECT_SECONDS = 3.0
HASTY_SECONDS = 3.0
"""For calls that must not wait for a connection whose other end is lost: the next call makes another one."""
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"


class ApiError(ExpectedError):
    """The API server refused a call, or could not be reached (status 0). The message is the server's own."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        """``reason``: the machine-readable cause, such as ``NotFound``."""
        super().__init__(message)
        self.status = status
        self.reason = reason

    @property
    def lasting(self) -> bool:
        """Whether the same call would be refused again: the request is invalid, or not allowed."""
        return self.status in {400, 403, 422} and not isinstance(self, Leaving)


class Leaving(ApiError):
    """The object of the call was deleted, or its namespace is being deleted."""


class Api:
    """Calls to the API server. Each raises ApiError."""

    def __init__(self, client: ApiClient, patience: float = TIMEOUT_SECONDS) -> None:
        """Use ``client``, which stays the caller's to close. ``patience``: how long a call may take, seconds."""
        self._client = client
        self._timeout = aiohttp.ClientTimeout(total=patience, sock_connect=CONNECT_SECONDS)

    async def get(self, kind: ResourceKind, namespace: str | None, name: str) -> Resource | None:
        """Return an object, None if it does not exist."""
        try:
            return await self._call("GET", kind.path(namespace, name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def list(
        self,
        kind: ResourceKind,
        namespace: str | None,
        labels: str = "",
        fields: str = "",
        limit: int = 0,
        *,
        cached: bool = False,
    ) -> list[Resource]:
        """Return the objects that match the selectors, at most ``limit`` (0: all).

        ``cached``: from the API server's watch cache, which costs it little and may lag behind a moment.
        """
        query = {"labelSelector": labels, "fieldSelector": fields, "limit": str(limit or "")}
        query["resourceVersion"] = "0" if cached else ""
        answer = await self._call("GET", kind.path(namespace), {key: value for key, value in query.items() if value})
        items: list[Resource] = answer["items"]
        return items

    async def create(self, kind: ResourceKind, manifest: Resource) -> Resource:
        """Create an object. Raises ApiError with status 409 if it exists already."""
        return await self._call(
            "POST", kind.path(manifest["metadata"]["namespace"]), {"fieldManager": names.FIELD_MANAGER}, manifest
        )

    async def apply(self, kind: ResourceKind, manifest: Resource, subresource: str | None = None) -> Resource:
        """Apply an object: set its fields, and remove those that an earlier version of it set and this one does not."""
        namespace, name = names.metadata(manifest)
        query = {"fieldManager": names.FIELD_MANAGER, "force": "true"}
        try:
            return await self._call("PATCH", kind.path(namespace, name, subresource), query, manifest, _APPLY)
        except ApiError as error:
            if error.status == 404:
                raise Leaving(error.status, error.reason, str(error)) from None
            raise

    async def apply_status(self, kind: ResourceKind, resource: Resource, status: Resource) -> None:
        """Apply the status of a resource, unless another one has its name now."""
        meta = {field: resource["metadata"][field] for field in ("name", "namespace", "uid")}
        manifest = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": meta, "status": status}
        await self.apply(kind, manifest, "status")

    async def merge(self, kind: ResourceKind, namespace: str, name: str, patch: Resource) -> Resource:
        """Change some fields of an existing object (RFC 7396)."""
        query = {"fieldManager": names.FIELD_MANAGER}
        return await self._call("PATCH", kind.path(namespace, name), query, patch, _MERGE)

    async def delete(self, kind: ResourceKind, namespace: str, name: str, uid: str, *, force: bool = False) -> None:
        """Delete the object with this ``uid``; do nothing if it does not exist. ``force``: wait for no kubelet."""
        options: Resource = {"preconditions": {"uid": uid}, **({"gracePeriodSeconds": 0} if force else {})}
        try:
            await self._call("DELETE", kind.path(namespace, name), body=options)
        except ApiError as error:
            if error.status not in {404, 409}:
                raise

    async def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Resource | None = None,
        content_type: str = "application/json",
    ) -> Resource:
        async with self.open(method, path, query, body, {"Content-Type": content_type}) as response:
            content = await response.read()
        document: Resource = json.loads(content)
        return document

    @asynccontextmanager
    async def open(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Resource | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: aiohttp.ClientTimeout | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yield a response whose body the caller reads; it may be a stream."""
        request = await self._client.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params={"Accept": "application/json", **(headers or {})},
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            answer = await self._client.call_api(*request, _request_timeout=timeout or self._timeout)
            response: aiohttp.ClientResponse = answer.response
            async with response:
                if response.status >= 400:
                    raise _error(response, await response.read())
                yield response
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            detail = str(error) or type(error).__name__
            raise ApiError(0, "Unreachable", f"the API server cannot be reached: {detail}") from None


def _error(response: aiohttp.ClientResponse, content: bytes) -> ApiError:
    causes: list[Any] = []
    try:
        status = json.loads(content)
        reason, message = status.get("reason", ""), status.get("message", "")
        causes = (status.get("details") or {}).get("causes") or []
    except (ValueError, AttributeError):
        reason, message = "", content[:200].decode(errors="replace")
    kind = Leaving if any(cause.get("reason") == "NamespaceTerminating" for cause in causes) else ApiError
    return kind(response.status, reason or str(response.reason), message or str(response.reason))

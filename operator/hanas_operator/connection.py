"""The connection to the API server, for the operator's calls and for kopf's watches."""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import kopf
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import load_incluster_config, load_kube_config

from hanas_operator import kinds, waits
from hanas_operator.api import Api, ApiError
from hanas_operator.crd import NAME
from hanas_operator.settings import OperatorSettings
from hanas_serving.settings import SettingError

_log = logging.getLogger(__name__)
_IN_CLUSTER = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_NAMESPACE = _IN_CLUSTER.with_name("namespace")


def is_inside(settings: OperatorSettings) -> bool:
    """Return whether to use the service account of a pod."""
    return settings.kubeconfig is None and settings.context is None and _IN_CLUSTER.exists()


def own_namespace(settings: OperatorSettings) -> str:
    """Return the namespace of the pod that the operator runs in; empty outside the cluster."""
    return _NAMESPACE.read_text(encoding="utf-8").strip() if is_inside(settings) else ""


@asynccontextmanager
async def connect(settings: OperatorSettings) -> AsyncIterator[ApiClient]:
    """Yield a client of the API server. Raises SettingError."""
    # No limit of connections: through the proxy, each overseer of each cluster keeps one.
    configuration = Configuration(connection_pool_maxsize=0)
    try:
        if is_inside(settings):
            load_incluster_config(configuration)  # type: ignore[no-untyped-call]
        else:
            await load_kube_config(settings.kubeconfig, settings.context, configuration, persist_config=False)  # type: ignore[no-untyped-call]
    except Exception as error:  # the content of the file is arbitrary
        file = settings.kubeconfig or os.environ.get("KUBECONFIG", "~/.kube/config")
        raise SettingError(
            f"the configuration in {file} cannot be used: {' '.join(str(error).split())}; give --kubeconfig FILE"
        ) from None
    async with ApiClient(configuration) as client:
        yield client


async def check(api: Api, settings: OperatorSettings) -> None:
    """Check that the API server answers and knows the HANas resource.

    Raises SettingError if it does not or refuses the account, ApiError if it may do better later.
    """
    for namespace in settings.namespaces or (None,):
        try:
            await api.list(kinds.HANAS, namespace, limit=1)
        except ApiError as error:
            if error.status == 404:
                raise SettingError(
                    f"the API server does not know HANas resources: install the CustomResourceDefinition {NAME} first "
                    "(charts/hanas, or manifests/)"
                ) from None
            if error.status in {401, 403}:
                raise SettingError(f"the API server refuses this account: {error}") from None
            raise


async def until_checked(api: Api, settings: OperatorSettings, stopping: asyncio.Event) -> None:
    """Check until the API server answers, or ``stopping`` is set. Raises SettingError."""
    for wait in waits.API:
        try:
            return await check(api, settings)
        except ApiError as error:
            _log.warning("%s; again in %.0f s", error, wait)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await stopping.wait()
                return None
    raise AssertionError("the waits never end")


async def credentials(configuration: Configuration) -> kopf.ConnectionInfo:
    """Return the connection in the form of kopf, with a fresh token."""
    header = await configuration.get_api_key_with_prefix("BearerToken")
    scheme, _, token = (header or "").rpartition(" ")
    return kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        insecure=not configuration.verify_ssl,
        username=configuration.username or None,
        password=configuration.password or None,
        scheme=scheme or None,
        token=token or None,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
        proxy_url=configuration.proxy,
    )

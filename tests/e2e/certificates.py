"""Certificates of a HANas: what its Secrets hold, and what its pods show."""

import base64
import time

from tests.e2e.hanas import HANas
from tests.e2e.kubectl import Kubectl

_SHOWN = "import ssl, sys; print(ssl.get_server_certificate(('localhost', int(sys.argv[1]))), end='')"


def held(kubectl: Kubectl, name: str, key: str = "tls.crt") -> str:
    """What a Secret holds."""
    return base64.b64decode((kubectl.get("secret", name) or {})["data"][key]).decode()


def pods(demo: HANas) -> dict[str, tuple[str, int]]:
    """The uid of each pod, and how often it was restarted."""
    found = demo.kubectl.list("pods", f"hanas.dev/cluster={demo.name}")
    return {
        pod["metadata"]["name"]: (pod["metadata"]["uid"], pod["status"]["containerStatuses"][0]["restartCount"])
        for pod in found
    }


def until_shown(demo: HANas) -> None:
    """Wait until every pod shows the certificate of the Secret, the first one in it, to who connects."""
    began = time.time()
    selector = f"hanas.dev/cluster={demo.name}"
    # A kubelet looks at a pod that changes at once, at others once a minute or two.
    demo.kubectl("annotate", "pods", "--selector", selector, f"e2e/looked={began}", "--overwrite")
    ports = {pod: "4000" if "overseer" in pod else "3001" for pod in pods(demo)}

    def shown() -> bool:
        first, end, _ = held(demo.kubectl, f"{demo.name}-tls").partition("-----END CERTIFICATE-----\n")
        asked = (demo.kubectl("exec", pod, "--", "python", "-c", _SHOWN, port) for pod, port in ports.items())
        return all(answer == first + end for answer in asked)

    demo.until("all pods show the new certificate", shown)
    print(f"all pods showed the new certificate after {time.time() - began:.1f} s")

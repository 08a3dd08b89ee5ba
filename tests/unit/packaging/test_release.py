"""`make release`: the commands of the builders, the chart that is packed and signed, the bills and the sums."""

import base64
import hashlib
import itertools
import json
import platform
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from release import __main__ as program
from release import bundle, chart, images, plugin, sbom, tools
from release.chart import Signature
from release.images import Image, Order
from release.tools import ReleaseError

from hanas_operator import rbac
from tests.unit.packaging.documents import ROOT, helm, of_kind, parsed, restricted

__all__ = ["helm"]
CHART = ROOT / "charts/hanas"
IMAGES = [Image(target, "1.2.3") for target in images.TARGETS]
WHO = "HANas Test <test@example.com>"


def order(folder: Path, registry: str = "", *, plain_http: bool = False) -> Order:
    return Order(ROOT, folder, "linux/amd64,linux/arm64", "abc", registry, plain_http, ("--pull",))


def command(folder: Path, name: str, script: str) -> None:
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def files(archive: Path) -> dict[str, str]:
    with tarfile.open(archive) as packed:
        read = {member.name: packed.extractfile(member) for member in packed.getmembers()}
        return {name: content.read().decode() for name, content in read.items() if content is not None}


def test_every_image_of_the_dockerfile_is_released() -> None:
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE))
    helpers = {"base", "build", *(f"build-{name}" for name in ("overseer", "worker", "operator", "client"))}
    assert set(images.TARGETS) == stages - helpers
    used = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    names = {used["image"]["repository"], used["operator"]["image"]["repository"]}
    assert names <= {image.name for image in IMAGES}


def test_buildx_makes_an_archive_for_all_platforms_and_pushes(tmp_path: Path) -> None:
    build, push = images.buildx(Image("operator", "1.2.3"), order(tmp_path, "r.example/team"))
    assert "--platform=linux/amd64,linux/arm64" in build
    assert f"--output=type=oci,dest={tmp_path}/hanas-operator-1.2.3.oci.tar" in build
    assert {"--target=operator", "--build-arg=VERSION=1.2.3", "--build-arg=REVISION=abc", "--pull"} <= set(build)
    assert "--output=type=registry,name=r.example/team/hanas-operator:1.2.3" in push
    *_, plain = images.buildx(Image("operator", "1.2.3"), order(tmp_path, "localhost:5000", plain_http=True))
    assert "--output=type=registry,name=localhost:5000/hanas-operator:1.2.3,registry.insecure=true" in plain
    assert len(list(images.buildx(Image("operator", "1.2.3"), order(tmp_path)))) == 1


def test_buildah_makes_an_archive_for_all_platforms_and_pushes(tmp_path: Path) -> None:
    build, archive, push = images.buildah(Image("hanas", "1.2.3"), order(tmp_path, "r.example/team"))
    assert {"--platform=linux/amd64,linux/arm64", "--manifest=hanas:1.2.3", "--target=hanas", "--pull"} <= set(build)
    assert archive[-2:] == ("hanas:1.2.3", f"oci-archive:{tmp_path}/hanas-1.2.3.oci.tar")
    assert push[-2:] == ("hanas:1.2.3", "docker://r.example/team/hanas:1.2.3")
    *_, plain = images.buildah(Image("hanas", "1.2.3"), order(tmp_path, "localhost:5000", plain_http=True))
    assert "--tls-verify=false" in plain
    assert "--tls-verify=false" not in push
    assert len(list(images.buildah(Image("hanas", "1.2.3"), order(tmp_path)))) == 2


def test_the_builder_is_the_one_that_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ReleaseError, match="install one of them"):
        images.builder()
    command(tmp_path, "buildah", "exit 0")
    command(tmp_path, "docker", "exit 1")  # docker without buildx
    assert images.builder() is images.buildah
    command(tmp_path, "docker", "exit 0")
    assert images.builder() is images.buildx


def test_a_build_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    command(tmp_path, "docker", '[ "$1 $2" = "buildx version" ] || exit 7')
    with pytest.raises(ReleaseError, match="docker failed with exit code 7"):
        images.build(order(tmp_path / "images"), "1.2.3")


def test_each_image_has_a_bill_of_its_packages(tmp_path: Path) -> None:
    for image in IMAGES:
        pins = re.findall(r"^([-a-z0-9]+)==", sbom.packages(ROOT, image), re.MULTILINE)
        assert len(pins) == len(set(pins)) > 1
        assert sbom.packages(ROOT, image).count("--hash=sha256:") > len(pins)
        assert sbom.line(ROOT, tmp_path, image, "list")[-1] == f"{tmp_path}/{image.name}-1.2.3.cdx.json"
    together = sbom.packages(ROOT, Image("hanas", "1.2.3"))
    assert {"httptools", "rich"} <= set(re.findall(r"^([-a-z0-9]+)==", together, re.MULTILINE))


def test_the_chart_takes_its_images_from_the_registry(
    helm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed = tmp_path / "pushed"
    command(tmp_path, "helm", f'test "$1" = push && echo "$@" > {pushed} || exec {helm} "$@"')
    monkeypatch.setenv("HELM", str(tmp_path / "helm"))
    chart.release(CHART, tmp_path, IMAGES, order(tmp_path, "r.example/team", plain_http=True), None)
    (packed,) = tmp_path.glob("*.tgz")
    content = files(packed)
    assert yaml.safe_load(content["hanas/values.yaml"])["registry"] == "r.example/team"
    metadata = yaml.safe_load(content["hanas/Chart.yaml"])
    listed = yaml.safe_load(metadata["annotations"]["artifacthub.io/images"])
    assert {"name": "hanas-operator", "image": "r.example/team/hanas-operator:1.2.3"} in listed
    assert "hanas/README.md" in content
    line = [helm, "template", "x", str(packed), "--kube-version", "1.34.0"]
    rendered = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    assert "r.example/team/hanas-operator:0" in rendered
    assert pushed.read_text() == f"push {packed} oci://r.example/team/charts --plain-http\n"


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The secret and the public keyring of a new key, as helm reads them: RSA, in the old format of gpg."""
    home = tmp_path / "gnupg"
    home.mkdir(mode=0o700)
    monkeypatch.setenv("GNUPGHOME", str(home))
    line = ["gpg", "--batch", "--quiet", "--passphrase", "", "--quick-generate-key", WHO, "rsa2048", "sign"]
    subprocess.run(line, check=True, capture_output=True)
    rings = []
    for what in ("--export-secret-keys", "--export"):
        ring = tmp_path / f"ring{what}"
        ring.write_bytes(subprocess.run(["gpg", "--batch", what], check=True, capture_output=True).stdout)
        rings.append(ring)
    subprocess.run(["gpgconf", "--kill", "all"], check=True, capture_output=True)
    return rings[0], rings[1]


def test_a_signed_chart_is_verified_and_a_changed_one_is_not(
    helm: str, tmp_path: Path, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, public = keys
    monkeypatch.setenv("HELM", helm)
    chart.release(CHART, tmp_path, IMAGES, order(tmp_path), Signature(WHO, secret, None))
    (packed,) = tmp_path.glob("*.tgz")
    verify = [helm, "verify", str(packed), "--keyring", str(public)]
    done = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert WHO in done.stdout
    packed.write_bytes(packed.read_bytes() + b"\0")
    assert subprocess.run(verify, capture_output=True, check=False).returncode != 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--key", "me"], "needs both"),
        (["--keyring", "file"], "needs both"),
    ],
)
def test_half_a_signature_is_refused(options: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(options) == 1
    assert words in capsys.readouterr().err


def test_a_keyring_that_is_not_there(helm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELM", helm)
    with pytest.raises(ReleaseError, match="gpg --export-secret-keys 'me'"):
        chart.release(CHART, tmp_path, IMAGES, order(tmp_path), Signature("me", tmp_path / "none", None))


def test_no_helm(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HELM", "/nowhere/helm")
    assert program.main([]) == 1
    assert "name it in $HELM" in capsys.readouterr().err


@pytest.mark.parametrize("registry", ["https://r.example", "r.example/Team"])
def test_what_is_no_registry(registry: str) -> None:
    with pytest.raises(SystemExit) as end:
        program.parser().parse_args(["--registry", registry])
    assert end.value.code == 2


def test_a_registry_may_be_named_as_helm_names_it() -> None:
    assert program.parser().parse_args(["--registry", "oci://r.example/team/"]).registry == "r.example/team"


def test_the_sums_are_those_of_all_files(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a").write_bytes(b"x")
    program.write_sums(tmp_path)
    program.write_sums(tmp_path)
    assert (tmp_path / program.SUMS).read_text() == f"{hashlib.sha256(b'x').hexdigest()}  images/a\n"


def test_the_icon_is_in_the_chart() -> None:
    metadata: dict[str, Any] = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    kind, _, content = metadata["icon"].partition(";base64,")
    assert kind == "data:image/svg+xml"
    assert base64.b64decode(content) == (CHART / "icon.svg").read_bytes()


def test_the_bundle_has_what_the_chart_installs(tmp_path: Path) -> None:
    bundle.write(ROOT, tmp_path, IMAGES, "r.example/team", "2026-01-01T00:00:00Z")
    made = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in (tmp_path / "manifests").iterdir()]
    installed = parsed((ROOT / "manifests/install.yaml").read_text(encoding="utf-8"))
    definitions = {each["metadata"]["name"]: each["spec"] for each in of_kind(installed, "CustomResourceDefinition")}
    bundled = {each["metadata"]["name"]: each["spec"] for each in of_kind(made, "CustomResourceDefinition")}
    assert bundled == definitions
    assert all("namespace" not in each["metadata"] for each in made), "OLM chooses it"
    (version,) = of_kind(made, "ClusterServiceVersion")
    assert version["metadata"]["name"] == "hanas.v1.2.3"
    owned = version["spec"]["customresourcedefinitions"]["owned"]
    assert {each["name"] for each in owned} == definitions.keys()
    examples = json.loads(version["metadata"]["annotations"]["alm-examples"])
    assert {each["kind"] for each in examples} == {each["kind"] for each in owned}
    install = version["spec"]["install"]["spec"]
    assert install["clusterPermissions"][0]["rules"] == [*rbac.rules(), *rbac.cluster_rules()]
    (deployment,) = install["deployments"]
    pod = deployment["spec"]["template"]["spec"]
    assert restricted(pod) == []
    (container,) = pod["containers"]
    assert container["image"] == "r.example/team/hanas-operator:1.2.3"
    environment = {each["name"]: each.get("value") for each in container["env"]}
    assert environment["HANAS_IMAGE"] == "r.example/team/hanas:1.2.3"
    assert environment["HANAS_LEASE"] == "$(OWN_NAMESPACE)/hanas-operator"
    names = [each["name"] for each in container["env"]]
    assert names.index("OWN_NAMESPACE") < names.index("HANAS_LEASE"), "a variable knows those before it"


def test_the_bundles_image_is_labelled_as_its_metadata(tmp_path: Path) -> None:
    bundle.write(ROOT, tmp_path, IMAGES, "", "2026-01-01T00:00:00Z")
    told = yaml.safe_load((tmp_path / "metadata/annotations.yaml").read_text(encoding="utf-8"))["annotations"]
    labels = dict(re.findall(r"^LABEL (\S+)=(\S+)$", (tmp_path / "Dockerfile").read_text(), re.MULTILINE))
    assert labels == told
    written = (tmp_path / "manifests/hanas.clusterserviceversion.yaml").read_text(encoding="utf-8")
    (version,) = parsed(written)
    assert version["metadata"]["annotations"]["containerImage"] == "hanas-operator:1.2.3"


def test_the_plugin_is_packed_for_this_platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(line: list[str]) -> None:
        (place,) = (Path(after) for option, after in itertools.pairwise(line) if option == "--distpath")
        place.mkdir()
        (place / "kubectl-hanas").write_text("program")
        assert {f"--paths={ROOT}/{room}" for room in ("core", "serving", "client")} <= set(line)
        assert "from hanas_client.kubectl.program import main" in Path(line[-1]).read_text(encoding="utf-8")

    monkeypatch.setattr(tools, "run", make)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    archive = plugin.build(ROOT, tmp_path, "1.2.3")
    assert archive.name == f"kubectl-hanas-1.2.3-{sys.platform}-arm64.tar.gz"
    assert files(archive)["kubectl-hanas"] == "program"
    monkeypatch.setattr(platform, "machine", lambda: "sparc")
    with pytest.raises(ReleaseError, match="no kubectl plugin for sparc"):
        plugin.build(ROOT, tmp_path, "1.2.3")


def test_krew_finds_the_plugin_by_its_hash(tmp_path: Path) -> None:
    archive = tmp_path / "kubectl-hanas-1.2.3-linux-amd64.tar.gz"
    archive.write_bytes(b"packed")
    plugin.write_manifest(tmp_path / "hanas.yaml", [archive], "1.2.3", "https://r.example/files/")
    manifest = yaml.safe_load((tmp_path / "hanas.yaml").read_text(encoding="utf-8"))
    assert manifest["spec"]["version"] == "v1.2.3"
    (entry,) = manifest["spec"]["platforms"]
    assert entry["selector"] == {"matchLabels": {"os": "linux", "arch": "amd64"}}
    assert entry["uri"] == "https://r.example/files/kubectl-hanas-1.2.3-linux-amd64.tar.gz"
    assert entry["sha256"] == hashlib.sha256(b"packed").hexdigest()
    assert entry["bin"] in {each["from"] for each in entry["files"]}

"""Make a release: ``python -m release --help``. Exit codes: 0 made, 1 failed, 2 usage."""

import argparse
import hashlib
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from release import bundle, chart, images, plugin, sbom
from release.chart import Signature
from release.images import Order
from release.tools import ReleaseError

ROOT = Path(__file__).parents[1]
CHART = ROOT / "charts/hanas"
SUMS = "SHA256SUMS"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    options = parser().parse_args(arguments)
    try:
        make(options)
    except ReleaseError as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(prog="release", description="Make a release of HANas.")
    top.add_argument("--folder", type=Path, default=ROOT / "dist/release", help="where it goes (dist/release)")
    top.add_argument("--platforms", default="linux/amd64,linux/arm64", help="of the images (linux/amd64,linux/arm64)")
    top.add_argument(
        "--registry", default="", type=_registry, help="push images and chart there, such as r.example/team"
    )
    top.add_argument("--plain-http", action="store_true", help="the registry speaks no TLS, as local ones")
    top.add_argument("--key", help="sign the chart with the key of this name")
    top.add_argument("--keyring", type=Path, help="file with the secret key: gpg --export-secret-keys NAME > FILE")
    top.add_argument("--passphrase-file", type=Path, help="file with the passphrase of the key; otherwise helm asks")
    top.add_argument("--downloads", default="", help="URL below which the files will lie: for the manifest of Krew")
    top.add_argument("--build-options", default="", type=shlex.split, help="more options of the builder, in one word")
    return top


def make(options: argparse.Namespace) -> None:
    """Make the release. Raises ReleaseError."""
    if (options.key is None) != (options.keyring is None):
        raise ReleaseError("a signature needs both: --key NAME and --keyring FILE")
    signature = Signature(options.key, options.keyring, options.passphrase_file) if options.key else None
    chart.helm()  # before the images, which take long
    folder: Path = options.folder
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    order = Order(
        root=ROOT,
        folder=folder / "images",
        platforms=options.platforms,
        revision=_revision(),
        registry=options.registry,
        plain_http=options.plain_http,
        options=tuple(options.build_options),
    )
    made = images.build(order, version)
    sbom.write(ROOT, folder / "sbom", made)
    chart.release(CHART, folder, made, order, signature)
    program = plugin.build(ROOT, folder, version)
    if options.downloads:
        plugin.write_manifest(folder / "hanas.krew.yaml", [program], version, options.downloads)
    bundle.write(ROOT, folder / "olm", made, order.registry, _committed())
    write_sums(folder)


def write_sums(folder: Path) -> None:
    """Write the hash of each file of the release, as `sha256sum --check` reads them."""
    lines = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SUMS):
        with path.open("rb") as content:
            lines.append(f"{hashlib.file_digest(content, 'sha256').hexdigest()}  {path.relative_to(folder)}\n")
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def _revision() -> str:
    """Return the commit that is released; ``unknown`` outside of a repository."""
    line = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    done = subprocess.run(line, check=False, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def _committed() -> str:
    """Return when the commit was made that is released: the same release is made again byte for byte."""
    line = ["git", "-C", str(ROOT), "log", "-1", "--format=%cI"]
    return subprocess.run(line, check=False, capture_output=True, text=True).stdout.strip()


def _registry(text: str) -> str:
    """Return a registry without its scheme, as images are named."""
    place = text.removeprefix("oci://").rstrip("/")
    if "://" in place or place != place.lower():
        raise argparse.ArgumentTypeError("must be a place of images, such as registry.example.com/team")
    return place


if __name__ == "__main__":
    sys.exit(main())

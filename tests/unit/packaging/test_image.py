"""Dockerfile and .dockerignore, as far as they can be judged without building."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.unit.packaging.documents import ROOT

COMMANDS = {"overseer": "hanas-overseer", "worker": "hanas-worker", "operator": "hanas-operator", "client": "hanas"}
COMPONENTS = tuple(COMMANDS)
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
_PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)==(\S+)", re.MULTILINE | re.IGNORECASE)


def pins(component: str) -> dict[str, str]:
    """Distribution to version, of a component's requirements."""
    return dict(_PIN.findall((ROOT / f"requirements/{component}.txt").read_text(encoding="utf-8")))


def stages() -> dict[str, list[str]]:
    """The instructions of each stage, continued lines joined."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in re.sub(r"\\\n", " ", DOCKERFILE).splitlines():
        if line.startswith("FROM "):
            found[line.split()[-1]] = lines = [line]
        elif found and line and not line.startswith("#"):
            lines.append(line)
    return found


def packages(component: str) -> list[Path]:
    """The folders of the packages that a component's image holds."""
    (copied,) = (line for line in stages()[f"build-{component}"] if line.startswith("COPY LICENSE"))
    return [ROOT / room / f"hanas_{room}" for room in re.findall(r"(\w+)/ ", copied)]


def modules(place: Path) -> set[str]:
    """The modules that a package or a file imports, and the names that it takes from them."""
    names = set()
    for file in [place] if place.is_file() else place.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def imported(package: Path) -> set[str]:
    """The top-level modules that a package imports, outside of the standard library and of HANas."""
    tops = {name.partition(".")[0] for name in modules(package)}
    return {name for name in tops if name not in sys.stdlib_module_names and not name.startswith("hanas_")}


@pytest.mark.parametrize("component", COMPONENTS)
def test_the_requirements_hold_everything_that_is_imported(component: str) -> None:
    known = packages_distributions()
    pinned = {re.sub(r"[-_.]+", "-", name).lower() for name in pins(component)}
    missing = {
        (package, module)
        for package in packages(component)
        for module in imported(package)
        if not {re.sub(r"[-_.]+", "-", name).lower() for name in known.get(module, [module])} & pinned
    }
    assert not missing, f"requirements/{component}.txt pins nothing that brings {sorted(missing)}"


def test_the_client_holds_what_it_imports_of_serving() -> None:
    (copied,) = (line for line in stages()["build-client"] if line.endswith("/opt/hanas/hanas_serving/"))
    held = {Path(file).stem for file in copied.split()[1:-1]}
    serving = {path.stem for path in (ROOT / "serving/hanas_serving").glob("*.py")}
    needed = {name.split(".")[1] for name in modules(ROOT / "client/hanas_client") if name.startswith("hanas_serving.")}
    imports = {name for file in held for name in modules(ROOT / f"serving/hanas_serving/{file}.py")}
    inner = {name.split(".")[1] for name in imports if name.startswith("hanas_serving.")}
    assert held == {"__init__", *(needed | inner) & serving}
    tops = {name.partition(".")[0] for name in imports}
    assert tops - sys.stdlib_module_names == {"cryptography", "hanas_core", "hanas_serving", "msgspec"}


def test_the_clients_of_the_e2e_tests_run_in_the_image_of_the_client() -> None:
    """Beside what the image holds, they bring one module of the lab."""
    script, history = ROOT / "tests/e2e/clients_in_pod.py", ROOT / "lab/hanas_lab/history.py"
    lab = {name for name in modules(script) if name.startswith("hanas_lab.")}
    assert {".".join(name.split(".")[:2]) for name in lab} == {"hanas_lab.history"}
    assert imported(script) | imported(history) <= {"msgspec"}
    assert not [name for name in modules(history) if name.startswith("hanas_")]


def test_the_dependencies_are_those_of_all_components_but_the_operator() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    groups = project["dependency-groups"]

    def distributions(group: str) -> set[str]:
        own = {distribution(item) for item in groups[group] if isinstance(item, str)}
        inner = (distributions(item["include-group"]) for item in groups[group] if not isinstance(item, str))
        return own.union(*inner)

    dependencies = {distribution(item) for item in project["project"]["dependencies"]}
    extras = {
        name: {distribution(item) for item in project["project"]["optional-dependencies"][name]}
        for name in ("operator", "s3")
    }
    everywhere = distributions("overseer") | distributions("worker") | distributions("client")
    assert everywhere == dependencies | extras["s3"]
    assert distributions("operator") - dependencies == extras["operator"]


@pytest.mark.parametrize("component", COMPONENTS)
def test_the_pins_of_a_component_are_those_of_the_tests(component: str) -> None:
    assert pins(component).items() <= pins("dev").items()


def distribution(requirement: str) -> str:
    """The name in a requirement."""
    return re.split(r"[<>=;\[ ]", requirement)[0]


def test_the_workers_requirements_contain_the_overseers() -> None:
    assert pins("overseer").items() <= pins("worker").items()


@pytest.mark.parametrize("component", COMPONENTS)
def test_every_requirement_has_hashes_and_no_host(component: str) -> None:
    text = (ROOT / f"requirements/{component}.txt").read_text(encoding="utf-8")
    assert "://" not in text
    for requirement in re.split(r"\n(?=\S)", text):
        if _PIN.match(requirement):
            assert "--hash=sha256:" in requirement, requirement.splitlines()[0]


def test_targets() -> None:
    found = stages()
    assert set(found) == {"build", "base", "hanas", *COMPONENTS, *(f"build-{component}" for component in COMPONENTS)}
    assert "USER 65532:65532" in found["base"]
    for component in COMPONENTS:
        assert found[component][0] == f"FROM base AS {component}"
        assert f'ENTRYPOINT ["{COMMANDS[component]}"]' in found[component]
        assert not any(line.startswith(("USER", "RUN", "ADD")) for line in found[component])
        assert any("--no-deps --require-hashes" in line for line in found[f"build-{component}"])
        (script,) = (line for line in found[f"build-{component}"] if "printf '#!" in line)
        assert re.search(rf"from hanas_{component}\.(__main__|cli) import main", script)
        assert {f"{component}/hanas_{component}", "core/hanas_core"} <= {
            str(package.relative_to(ROOT)) for package in packages(component)
        }
    assert found["hanas"][0] == "FROM worker AS hanas"


def test_only_syntax_that_every_builder_knows() -> None:
    assert not re.search(r"RUN --|COPY --(?!from=)|ADD |<<|# syntax", DOCKERFILE)


def test_the_context_is_only_what_is_copied() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in lines
    assert {line[1:] for line in lines if line.startswith("!")} == {
        "core/hanas_core",
        "serving/hanas_serving",
        *(f"{component}/hanas_{component}" for component in COMPONENTS),
        "requirements",
        "LICENSE",
    }

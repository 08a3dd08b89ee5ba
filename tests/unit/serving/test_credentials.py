"""Files of secrets and tokens that change while a process runs."""

import asyncio
import hashlib
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from hanas_core.members.verdicts import Severity, Verdict
from hanas_serving import credentials, principals, settings
from hanas_serving.credentials import Credentials
from hanas_serving.lanes import SystemThread
from hanas_serving.principals import Action, Standing
from hanas_serving.settings import SettingError
from hanas_worker.host.credentials import conditions
from tests.unit.core.scenery import bare_folder, serve
from tests.unit.waiting import meanwhile, until
from tests.unit.worker.nodes import backup_of


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "LOOK_SECONDS", 0.001)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """The environment of a process with a secret and two tokens."""
    (tmp_path / "secret").write_text("s\n")
    (tmp_path / "tokens").write_text("a\nb\n")
    return {settings.SECRETS: str(tmp_path / "secret"), settings.TOKENS: str(tmp_path / "tokens")}


def of(environment: Mapping[str, str]) -> Credentials:
    return Credentials(
        environment, settings.secrets(environment, settings.SECRETS), settings.secrets(environment, settings.TOKENS)
    )


def replace(environment: Mapping[str, str], variable: str, content: str) -> None:
    new = Path(environment[variable]).with_suffix(".new")
    new.write_text(content)
    new.replace(environment[variable])


async def test_changed_tokens_are_in_force_and_revoked_ones_are_not(files: dict[str, str]) -> None:
    held, changes = of(files), []

    def readers() -> str:
        """Whose token opens the state, of all that the files ever have."""
        shown = ((token, held.callers.identify(f"Bearer {token}".encode())) for token in ("a", "b", "c", "new", "s"))
        return " ".join(token for token, principal in shown if principals.may(principal, Action.OBSERVE))

    held.on_change = lambda: changes.append(readers())
    assert held.callers.identify(b"Bearer b").standing is Standing.BEARER
    assert (held.client_tokens[0], held.client_tokens[1:], readers()) == ("a", ("b",), "a b s")
    async with meanwhile(held.keep(SystemThread)):
        replace(files, settings.TOKENS, "a\nc\n")
        await until(lambda: tuple(held.client_tokens) == ("a", "c"))
        assert held.callers.identify(b"Bearer b").standing is Standing.STRANGER
        assert held.callers.identify(b"Bearer c").standing is Standing.BEARER
        replace(files, settings.SECRETS, "new\ns\n")
        await until(lambda: principals.bearer(held.secrets) == {"Authorization": "Bearer new"})
    assert changes == ["a c s", "a c new s"]


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"\n", "the file is empty"), (b"\xff", "it is not UTF-8 text"), (None, "No such file or directory")],
)
async def test_what_cannot_be_used_changes_nothing_and_is_told(
    files: dict[str, str], content: bytes | None, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    main = serve(bare_folder(), 1)
    host = backup_of(main, main.folder.other()).host
    host.credentials = held = of(files)
    path = Path(files[settings.TOKENS])
    async with meanwhile(held.keep(SystemThread)):
        assert conditions(host) == []
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
        await until(lambda: bool(held.trouble))
        assert (tuple(held.client_tokens), tuple(held.secrets)) == (("a", "b"), ("s",))
        [condition] = conditions(host)
        assert (condition.kind, condition.severity) == (Verdict.UNKNOWN, Severity.URGENT)
        assert f"HANAS_CLIENT_TOKEN_FILE={path}" in condition.message
        assert words in condition.message
        path.write_text("c\n")
        await until(lambda: not held.trouble)
    assert tuple(held.client_tokens) == ("c",)
    errors = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1
    assert "the 2 lines that it had before stay in force" in errors[0]


async def test_a_file_that_is_being_written_is_not_taken_for_whole(
    files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([("a",), ("a", "l"), ("a", "long"), ("a", "long")])
    last: list[tuple[str, ...]] = []

    def lines_of(environment: Mapping[str, str], variable: str) -> tuple[str, ...]:
        if variable == settings.SECRETS:
            return ("s",)
        last[:] = [next(looks, ("a", "long"))]
        return last[0]

    held, changes = of(files), []
    held.on_change = lambda: changes.append(tuple(held.client_tokens))
    monkeypatch.setattr(settings, "lines_of", lines_of)
    async with meanwhile(held.keep(SystemThread)):
        await until(lambda: bool(changes))
    assert changes == [("a", "long")]


async def test_a_file_that_does_not_answer_stops_nothing(
    files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    held, answers = of(files), threading.Event()

    def lines_of(environment: Mapping[str, str], variable: str) -> tuple[str, ...]:
        answers.wait()
        return ("s",) if variable == settings.SECRETS else ("a", "b")

    monkeypatch.setattr(settings, "lines_of", lines_of)
    monkeypatch.setattr(credentials, "PATIENCE_SECONDS", 0.001)
    async with meanwhile(held.keep(SystemThread)):
        await until(lambda: "it does not answer" in held.trouble)
        monkeypatch.setattr(credentials, "PATIENCE_SECONDS", 10.0)
        answers.set()
        await until(lambda: not held.trouble)
    assert tuple(held.client_tokens) == ("a", "b")


async def test_without_files_nothing_is_read() -> None:
    held = Credentials({}, (), ())
    async with meanwhile(held.keep(SystemThread)):
        await asyncio.sleep(0.01)
    assert held.callers.keys_are_open
    assert principals.may(held.callers.identify(None), Action.OBSERVE)
    assert (held.trouble, principals.bearer(held.secrets)) == ("", {})


FILE = "principals:\n- name: web\n  tokens: [{}]\n  grants:\n  - {{prefix: {}, rights: [read]}}\n"


def clients_file(token: str, prefix: str) -> str:
    return FILE.format(hashlib.sha256(token.encode()).hexdigest(), prefix)


async def test_a_changed_file_of_clients_is_in_force_and_a_wrong_one_changes_nothing(
    files: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "clients.yaml"
    path.write_text(clients_file("one", "a/"))
    environment = {settings.SECRETS: files[settings.SECRETS], settings.CLIENTS: str(path)}
    held = Credentials.of(environment, settings.read(environment, 4000), certified=False)

    def may_read(token: str, key: bytes) -> bool:
        return principals.may(held.callers.identify(f"Bearer {token}".encode()), Action.READ, key)

    def unusable() -> float:
        return next(iter(held.collect())).samples[-1].value

    assert (may_read("one", b"a/1"), may_read("one", b"b/1"), may_read("s", b"a/1"), unusable()) == (1, 0, 0, 0)
    async with meanwhile(held.keep(SystemThread)):
        path.write_text(clients_file("one", "b/"))
        await until(lambda: may_read("one", b"b/1"))
        assert not may_read("one", b"a/1")
        path.write_text(clients_file("two", "a/").replace("rights", "wrongs"))
        await until(lambda: bool(held.trouble))
        assert held.trouble.startswith(f"HANAS_CLIENTS_FILE={path}: line 5: principals[0].grants[0]: ")
        assert (may_read("one", b"b/1"), unusable()) == (True, 1)
        path.unlink()
        await until(lambda: "No such file" in held.trouble)
        assert may_read("one", b"b/1")
        path.write_text(clients_file("two", "a/"))
        await until(lambda: may_read("two", b"a/1"))
        assert not may_read("one", b"b/1")
        await until(lambda: not held.trouble)
    assert unusable() == 0
    assert "the 1 principals that it had before stay in force" in caplog.text


def test_a_wrong_file_of_clients_lets_no_process_start(files: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "clients.yaml"
    path.write_text("principals: 3\n")
    environment = {settings.SECRETS: files[settings.SECRETS], settings.CLIENTS: str(path)}
    with pytest.raises(SettingError) as caught:
        Credentials.of(environment, settings.read(environment, 4000), certified=False)
    assert str(caught.value) == f"HANAS_CLIENTS_FILE={path}: line 1: principals: Expected `array`, got `int`"
    with pytest.raises(SettingError, match="HANAS_CLIENTS_FILE is set and HANAS_SECRET_FILE is not"):
        settings.read({settings.CLIENTS: str(path)}, 4000)

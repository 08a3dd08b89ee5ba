"""What the environment says when it says it well; what it says badly is in test_refusals.py."""

from pathlib import Path

import pytest

from hanas_core.members.timing import CLOUD, LAN
from hanas_core.volume.blocking import run
from hanas_serving import folders, settings
from hanas_serving.settings import SettingError


def test_defaults_hold_for_what_is_not_set_and_for_what_is_empty() -> None:
    for environment in ({}, {"X": ""}):
        assert settings.port(environment, "X", 3001) == 3001
        assert settings.bytes_count(environment, "X", 10, 1, 20) == 10
        assert settings.choice(environment, "X", ("first", "second")) == "first"
        assert settings.url(environment, "X", "http://default") == "http://default"
        assert settings.urls(environment, "X", "http://one,http://two") == ("http://one", "http://two")
        assert settings.secrets(environment, "X") == ()
    assert settings.folder_id({"HANAS_FOLDER_ID": ""}) is None
    assert settings.timing({"HANAS_PRESET": "", "HANAS_PROBE_TIMEOUT": ""}) == LAN


def test_numbers_at_their_bounds() -> None:
    assert settings.port({"X": "1"}, "X", 0) == 1
    assert settings.port({"X": "65535"}, "X", 0) == 65_535
    assert settings.bytes_count({"X": "1"}, "X", 10, 1, 20) == 1
    assert settings.bytes_count({"X": "20"}, "X", 10, 1, 20) == 20
    for text in ("0", "21", "1e1", "-1", "+1", " 1"):
        with pytest.raises(SettingError, match="X="):
            settings.bytes_count({"X": text}, "X", 10, 1, 20)


def test_urls() -> None:
    assert settings.url({"X": "https://host:1/base/"}, "X", "") == "https://host:1/base"
    assert settings.url({"X": "http://[::1]:4000"}, "X", "") == "http://[::1]:4000"
    given = " one:4000, http://two/ ,,https://three:1 , [::1]:4000"
    assert settings.urls({"X": given}, "X", "") == (
        "http://one:4000",
        "http://two",
        "https://three:1",
        "http://[::1]:4000",
    )


def test_secrets_are_the_lines_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secrets"
    file.write_text("\n  new \n\nöld\n")
    assert settings.secrets({"X": str(file)}, "X") == ("new", "öld")


def test_timings_come_from_a_preset_and_each_may_be_set() -> None:
    assert settings.timing({"HANAS_PRESET": "cloud"}) == CLOUD
    timing = settings.timing({"HANAS_PRESET": "cloud", "HANAS_SUSPECT_AFTER": "2.5", "HANAS_MOST_PATIENCE": "3600"})
    assert (timing.suspect_after, timing.most_patience) == (2.5, 3600.0)
    assert timing.keepalive_interval == CLOUD.keepalive_interval
    assert settings.timing({"HANAS_TAIL_INTERVAL": "0.001"}).tail_interval == 0.001


def test_the_folder(tmp_path: Path) -> None:
    for environment in ({}, {"COMMUNICATION_FOLDER": ""}):
        common = settings.read(environment, 3001)
        assert (common.port, common.folder, common.folder_is_default) == (3001, Path("communication"), True)
    named = settings.read({"COMMUNICATION_FOLDER": str(tmp_path)}, 3001)
    assert (named.folder, named.folder_is_default) == (tmp_path, False)
    assert run(folders.open_folder(tmp_path)).path == tmp_path
    with pytest.raises(SettingError, match="there is no such directory; mount the volume there, or make it"):
        run(folders.open_folder(tmp_path / "missing"))
    with pytest.raises(SettingError, match="/proc/self: cannot be written; give this user read and write permission"):
        run(folders.open_folder(Path("/proc/self")))


def test_tokens_of_clients_need_a_secret_of_the_components(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("t\n")
    (tmp_path / "secret").write_text("s\n")
    tokens = {"HANAS_CLIENT_TOKEN_FILE": str(tmp_path / "tokens")}
    with pytest.raises(SettingError, match="HANAS_SECRET_FILE is not: anyone could act as a worker"):
        settings.read(tokens, 4000)
    assert settings.read(tokens | {"HANAS_SECRET_FILE": str(tmp_path / "secret")}, 4000).client_tokens == ("t",)
    assert settings.read({"HANAS_SECRET_FILE": str(tmp_path / "secret")}, 4000).client_tokens == ()


def test_a_secret_that_everybody_can_read_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "secret"
    file.write_text("s")
    for mode, told in [(0o600, False), (0o640, False), (0o644, True)]:
        file.chmod(mode)
        caplog.clear()
        assert settings.secrets({"X": str(file)}, "X") == ("s",)
        assert ("every user of this machine can read the file" in caplog.text) is told

"""What arrives at the hub is the release, byte by byte; and nothing leaves that should not."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bedside.errors import CheckFailed, OfflineError, UsageError
from bedside.export import release
from bedside.export.push import refuse_early, send

from .conftest import SaveRelease
from .hub import TOKEN, Hub, loopback_hub

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<:DeprecationWarning")  # huggingface_hub's own PUT


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub that huggingface_hub takes for the real one; what it reads from the environment once is set for it."""
    from huggingface_hub import constants

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    with loopback_hub() as served:
        monkeypatch.setenv("HF_ENDPOINT", served.address)
        yield served


def test_what_arrives_is_the_release_and_nothing_else(hub: Hub, save_release: SaveRelease) -> None:
    folder = save_release()
    (folder / "notes.txt").write_text("for us alone")
    found = send(folder, "org/demo", public=False)
    names = [*release.sums(folder), release.SUMS]
    assert hub.files == {name: (folder / name).read_bytes() for name in names}
    assert not {"notes.txt", "export.json"} & hub.files.keys()
    assert (found["files"], found["commit"], found["private"]) == (len(names), "c" * 40, True)


@pytest.mark.parametrize("public", [False, True])
def test_the_repository_is_private_unless_public_is_said(hub: Hub, save_release: SaveRelease, public: bool) -> None:
    send(save_release(), "org/demo", public)
    assert hub.private is not public
    assert hub.files


def test_a_private_push_does_not_end_in_a_public_repository(hub: Hub, save_release: SaveRelease) -> None:
    hub.private = False
    with pytest.raises(UsageError, match="it is public, so nothing was sent"):
        send(save_release(), "org/demo", public=False)
    assert not hub.files
    assert not hub.objects


def test_a_repository_that_is_there_gets_the_files(hub: Hub, save_release: SaveRelease) -> None:
    hub.private = True
    send(save_release(), "org/demo", public=False)
    assert "demo-q8_0.gguf" in hub.files


def test_files_go_to_the_hub_itself_even_where_xet_is_installed(hub: Hub, save_release: SaveRelease) -> None:
    """hf_xet would send them, past Python's HTTP client, to whatever server the hub names."""
    pytest.importorskip("hf_xet")
    with loopback_hub() as other:
        hub.storage = other.address
        hub.refuse = {"/objects/batch": 400}
        with pytest.raises(OfflineError):
            send(save_release(), "org/demo", public=False)
        assert "POST /org/demo.git/info/lfs/objects/batch" in hub.asked
        assert not [asked for asked in hub.asked if "xet" in asked]
        assert not other.asked


def test_a_hub_of_ones_own_that_names_another_host_gets_no_files(hub: Hub, save_release: SaveRelease) -> None:
    with loopback_hub() as other:
        hub.storage = other.address.replace("127.0.0.1", "localhost")
        with pytest.raises(
            OfflineError, match="wants files sent to 'localhost', which is not HF_ENDPOINT's host"
        ) as told:
            send(save_release(), "org/demo", public=False)
        assert "\n" not in str(told.value)
        assert not other.asked
    assert not hub.files


def test_afterwards_other_requests_are_as_free_as_before(hub: Hub, save_release: SaveRelease) -> None:
    from huggingface_hub import constants, get_session

    before = constants.HF_HUB_DISABLE_XET
    send(save_release(), "org/demo", public=False)
    assert before is constants.HF_HUB_DISABLE_XET
    assert get_session().get(hub.address.replace("127.0.0.1", "localhost")).status_code == 200


def test_it_says_what_goes_where_before_anything_goes(hub: Hub, save_release: SaveRelease, capsys) -> None:
    hub.refuse = {"/api/repos/create": 403}
    with pytest.raises(OfflineError):
        send(save_release(), "org/demo", public=False)
    told = capsys.readouterr().err
    assert f"{hub.address}/org/demo (private)" in told
    assert "demo-q8_0.gguf  300,000 bytes" in told


@pytest.mark.parametrize("ok", [False, None])
def test_an_unverified_release_does_not_leave(hub: Hub, save_release: SaveRelease, ok: bool | None) -> None:
    with pytest.raises(CheckFailed, match="unverified, so nothing was sent"):
        send(save_release(ok=ok), "org/demo", public=False)
    assert not hub.asked


def test_a_release_that_was_changed_does_not_leave(hub: Hub, save_release: SaveRelease) -> None:
    folder = save_release()
    with (folder / "demo-q8_0.gguf").open("ab") as file:
        file.write(b"!")
    with pytest.raises(CheckFailed, match=r"not verified, so nothing was sent: demo-q8_0\.gguf"):
        send(folder, "org/demo", public=False)
    assert not hub.asked


@pytest.mark.parametrize(
    ("path", "status"),
    [("/api/repos/create", 403), ("/preupload/", 404), ("/objects/batch", 400), ("/objects/", 403), ("/commit/", 409)],
)
def test_a_refusal_of_the_hub_is_one_line(hub: Hub, save_release: SaveRelease, path: str, status: int) -> None:
    hub.refuse = {path: status}
    with pytest.raises(OfflineError) as told:
        send(save_release(), "org/demo", public=False)
    assert str(told.value).startswith("--push org/demo: ")
    assert "\n" not in str(told.value)
    assert str(status) in str(told.value)
    assert not hub.files


def test_a_wrong_token_is_one_line(hub: Hub, save_release: SaveRelease, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(OfflineError, match="401"):
        send(save_release(), "org/demo", public=False)


@pytest.mark.parametrize("name", ["demo", "org/", "/demo", "a/b/c", "org/de mo", "../x/y", ""])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="want ORG/NAME"):
        refuse_early(name)


def test_offline_is_told_before_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(OfflineError, match="HF_HUB_OFFLINE is set"):
        refuse_early("org/demo")


def test_a_hub_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(OfflineError, match=r"cannot be reached \(no network\); nothing was sent"):
        refuse_early("org/demo")


@pytest.mark.usefixtures("hub")
def test_who_is_not_logged_in_is_told_how_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(UsageError, match="not logged in; set HF_TOKEN"):
        refuse_early("org/demo")

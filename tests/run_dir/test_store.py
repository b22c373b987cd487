"""What every store promises: whole or not there, in order, kept from a second driver, one line where it is damaged.

The object store is a real server of its own (moto), over HTTP.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mva_ray.errors import ConfigError, DamagedFile, RunError
from mva_ray.run_dir.layout import RunDirectory
from mva_ray.run_dir.local import LocalStore
from mva_ray.run_dir.objects import MARKER, ObjectStore
from mva_ray.run_dir.place import arrow_files, delta_options, object_store
from mva_ray.run_dir.store import File, Store
from mva_ray.run_dir.stores import directory_at, store_at
from tests.support.disks import fill, small_disk
from tests.support.object_store import S3Server


@pytest.fixture(params=["disk", "objects"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "run") if request.param == "disk" else request.getfixturevalue("s3")


@pytest.fixture
def store(place: str) -> Store:
    return store_at(place)


def made(directory: Path, **files: str) -> Path:
    """A directory with these files."""
    for name, content in files.items():
        path = directory / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return directory


def test_what_was_written_is_read(place: str) -> None:
    file = RunDirectory(place).plan
    assert (file.read(), file.read_object()) == (None, None)
    file.write_json({"a": [1, "é"]})
    assert file.read_object() == {"a": [1, "é"]}
    file.write_json({})
    assert file.read_object() == {}
    assert (file.place, store_at(place).names("")) == (f"{place}/plan.json", ["plan.json"])


def test_what_is_appended_stays_in_order(store: Store) -> None:
    parts = [f"{number} ".encode() for number in range(12)]
    for part in parts:
        store.append("logs/a", part)
    assert store.read("logs/a") == b"".join(parts)
    assert (store.names("logs"), store.names("none")) == (["a"], [])


def test_what_was_appended_is_replaced_and_appended_to_again(store: Store) -> None:
    """A run that starts from another has samples that were written whole."""
    store.append("logs/a", b"one ")
    store.write("logs/a", b"two ")
    assert store.read("logs/a") == b"two "
    store.append("logs/a", b"three")
    assert store.read("logs/a") == b"two three"
    store.remove("logs/a")
    assert store.read("logs/a") is None


def test_two_that_append_at_once_lose_nothing(store: Store) -> None:
    def append(name: str) -> None:
        for number in range(8):
            store.append("log", f"{name}{number}\n".encode())

    at_once(lambda: append("a"), lambda: append("b"))
    lines = (store.read("log") or b"").decode().split()
    assert sorted(lines) == sorted(f"{name}{number}" for name in "ab" for number in range(8))
    assert [line for line in lines if line[0] == "a"] == [f"a{number}" for number in range(8)]


def at_once(*calls: Callable[[], None]) -> None:
    errors: list[BaseException] = []

    def run(call: Callable[[], None]) -> None:
        try:
            call()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_a_directory_is_published_whole(store: Store, tmp_path: Path) -> None:
    assert not store.exists("adapters/brief-1")
    scratch = made(store.scratch("adapters/brief-1"), weights="12", deep__er="3")
    assert not store.exists("adapters/brief-1")
    store.publish(scratch, "adapters/brief-1")
    assert store.exists("adapters/brief-1")
    assert not scratch.exists()
    fetched = store.fetch("adapters/brief-1")
    assert {
        path.relative_to(fetched).as_posix(): path.read_text() for path in fetched.rglob("*") if path.is_file()
    } == {
        "weights": "12",
        "deep/er": "3",
    }
    assert store.names("adapters") == ["brief-1"]
    assert directory_at(f"{store.place}/adapters/brief-1").fetch() == fetched
    store.remove("adapters/brief-1")
    assert not store.exists("adapters/brief-1")
    with pytest.raises(DamagedFile):
        store.fetch("adapters/brief-1")


def test_of_two_publishers_one_wins_and_nothing_is_mixed(store: Store, tmp_path: Path) -> None:
    one = made(tmp_path / "one", a="1", b="1" * 1000)
    other = made(tmp_path / "other", a="2", b="2" * 1000)
    at_once(lambda: store.publish(one, "d"), lambda: store.publish(other, "d"))
    fetched = store.fetch("d")
    assert {path.read_text()[0] for path in fetched.iterdir()} in ({"1"}, {"2"})
    assert sorted(path.name for path in fetched.iterdir()) == ["a", "b"]
    assert not one.exists()
    assert not other.exists()


def test_a_kill_before_the_marker_leaves_nothing_that_anybody_meets(s3: str, tmp_path: Path) -> None:
    """A process of its own is killed between the upload and the marker; the next one publishes undisturbed."""
    scratch = made(tmp_path / "d", a="1")
    code = """
import os, sys
from pathlib import Path
from mva_ray.run_dir.objects import ObjectStore
ObjectStore._created = lambda *rest: os.kill(os.getpid(), 9)
ObjectStore(sys.argv[1]).publish(Path(sys.argv[2]), "d")
"""
    killed = subprocess.run([sys.executable, "-c", code, s3, str(scratch)], check=False)
    assert killed.returncode == -signal.SIGKILL
    store = ObjectStore(s3)
    assert store.names("d") != [], "something was uploaded"
    assert not store.exists("d")
    with pytest.raises(DamagedFile, match=MARKER):
        store.fetch("d")
    store.publish(scratch, "d")
    assert (store.fetch("d") / "a").read_text() == "1"


def test_a_node_fetches_once_and_keeps_no_half_directory(s3: str, tmp_path: Path) -> None:
    store = ObjectStore(s3)
    store.publish(made(tmp_path / "d", a="1", b="2"), "d")
    folder = next(name for name in store.names("d") if name != MARKER)
    store.write(f"d/{folder}/b", b"changed")
    with pytest.raises(DamagedFile, match="its content is not what was published"):
        store.fetch("d")
    store.write(f"d/{folder}/b", b"2")
    fetched = store.fetch("d")
    store.remove(f"d/{folder}")
    assert store.fetch("d") == fetched
    assert (fetched / "b").read_text() == "2"


def test_a_directory_that_is_kept_stays(store: Store, tmp_path: Path) -> None:
    model = made(tmp_path / "model", config="1")
    store.publish(model, "models/1", keep=True)
    store.publish(model, "models/1", keep=True)
    assert (store.fetch("models/1") / "config").read_text() == (model / "config").read_text() == "1"
    assert store.names("models") == ["1"]


@pytest.mark.parametrize("content", ['{"stages": {"samples": "1', "", "[]", "17", "\x00\x00"])
def test_a_damaged_file_is_one_line_with_what_can_be_done(tmp_path: Path, content: str) -> None:
    (tmp_path / "plan.json").write_text(content)
    with pytest.raises(DamagedFile) as caught:
        RunDirectory(tmp_path).plan.read_object()
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'plan.json'} is damaged: ")
    assert message.endswith("; delete it, and what it held is computed again")
    assert "\n" not in message


@pytest.mark.parametrize(
    "marker", ["", "[]", '{"folder": "..", "files": {}}', '{"folder": "1", "files": {"../a": "0"}}', '{"files": 1}']
)
def test_a_damaged_marker_is_one_line_and_reaches_nothing_else(s3: str, marker: str) -> None:
    store = ObjectStore(s3)
    store.write(f"d/{MARKER}", marker.encode())
    with pytest.raises(DamagedFile, match=MARKER):
        store.fetch("d")


def test_a_list_is_no_object(tmp_path: Path) -> None:
    file = File(LocalStore(tmp_path), "scores.json")
    file.write_json({"a": 1})
    with pytest.raises(DamagedFile, match="expected a JSON list"):
        file.read_list()


def test_a_full_disk_is_said_and_keeps_what_was_there(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1) as disk:
        file = RunDirectory(disk).timings
        file.write_json({"search": 1.0})
        ballast = fill(disk, leave=4096)
        with pytest.raises(RunError, match=r"timings\.json: No space left on device"):
            file.write(bytes(100_000))
        with pytest.raises(RunError, match="No space left on device"):
            file.append(bytes(100_000))
        assert sorted(path.name for path in disk.iterdir()) == ["ballast", "timings.json"], "no half file is left"
        ballast.unlink()
        assert (file.read() or b"").startswith(b'{\n  "search": 1.0')


def test_a_second_process_is_refused_and_a_dead_one_holds_nothing(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    hold = f"from mva_ray.run_dir.stores import store_at\nwith store_at({str(tmp_path)!r}).locked():\n"
    with store.locked():
        other = subprocess.run([sys.executable, "-c", hold + "    pass"], capture_output=True, text=True, check=False)
        assert f"another process is at work in {tmp_path}" in other.stderr
    killed = subprocess.run([sys.executable, "-c", hold + "    import os; os.kill(os.getpid(), 9)"], check=False)
    assert killed.returncode == -9
    with store.locked():
        pass


def test_a_store_is_asked_whether_it_can_be_used(store: Store, place: str) -> None:
    store.check_usable()
    assert store.names("") == []


def test_a_bucket_that_is_not_there_is_one_line(s3: str) -> None:
    with pytest.raises(ConfigError) as caught:
        store_at("s3://nobodys/run").check_usable()
    assert str(caught.value).startswith("s3://nobodys/run: the store cannot be used: ")
    assert "\n" not in str(caught.value)


def test_without_credentials_nobody_waits(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ConfigError, match="no credentials: there are none in the environment"):
        ObjectStore(s3).check_usable()
    with pytest.raises(RunError, match="no credentials: there are none in the environment"):
        ObjectStore(s3).read("a")


@pytest.mark.parametrize("header", ["If-None-Match", "If-Match"])
def test_a_store_that_ignores_conditions_is_refused(monkeypatch: pytest.MonkeyPatch, header: str) -> None:
    """Of 77 rows that such a server said it had committed, it kept 55."""
    server = S3Server(ignored=(header,))
    try:
        for name, setting in server.environment.items():
            monkeypatch.setenv(name, setting)
        with pytest.raises(ConfigError, match=rf"does not keep conditional writes \(it ignores {header}\)"):
            ObjectStore(server.new_url() + header).check_usable()
    finally:
        server.close()


@pytest.mark.parametrize("url", ["http://host/run", "s3://", "s3:///run", "ftp://a/b"])
def test_other_urls_are_no_place_for_a_run(url: str) -> None:
    with pytest.raises(ConfigError, match="expected a path, s3://bucket/prefix"):
        RunDirectory(url)


def test_paths_are_absolute_and_urls_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert RunDirectory("runs/a").place == str(tmp_path / "runs" / "a")
    assert RunDirectory(f"file://{tmp_path}/a").place == f"{tmp_path}/a"
    assert RunDirectory("s3://bucket/a/b/").place == "s3://bucket/a/b"


def test_a_store_that_is_away_for_a_moment_is_waited_for(s3_server: S3Server, s3: str) -> None:
    """Nothing is lost and nothing is there twice."""
    store = ObjectStore(s3)
    store.append("log", b"one ")
    with s3_server.paused():
        waiting = threading.Thread(target=lambda: store.append("log", b"two "))
        waiting.start()
        waiting.join(1)
        assert waiting.is_alive()
    waiting.join(30)
    assert store.read("log") == b"one two "


def test_a_store_that_stays_away_is_one_line(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mva_ray.run_dir.patience.PATIENCE_S", 0.5)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(RunError) as caught:
        ObjectStore(s3 + "-away").read("a")
    assert str(caught.value).startswith(f"{s3}-away: the store has not answered for 0.5 s (")
    assert "\n" not in str(caught.value)
    assert os.environ["AWS_ENDPOINT_URL"] not in s3


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("s3://bucket/a b/c", "bucket/a b/c"),
        ("gs://bucket/a", "bucket/a"),
        ("az://container/a", "container/a"),
        ("abfss://container@account.dfs.core.windows.net/a", "container/a"),
    ],
)
def test_each_cloud_is_opened_by_every_library(monkeypatch: pytest.MonkeyPatch, url: str, path: str) -> None:
    """As far as that goes without asking it."""
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "a2V5")
    assert object_store(url) is object_store(url)
    assert arrow_files(url)[1] == path
    assert set(delta_options(url) or {}) == {"allow_http", "max_retries", "retry_timeout"}

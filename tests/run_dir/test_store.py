"""A run's files: whole or not there, one plain line where one is damaged, the disk full or the directory taken."""

import subprocess
import sys
from pathlib import Path

import pytest

from mva_ray.errors import DamagedFile, RunError
from mva_ray.run_dir.layout import RunDirectory
from mva_ray.run_dir.local import LocalStore
from mva_ray.run_dir.store import File
from tests.support.disks import fill, small_disk


def test_what_was_written_is_read(tmp_path: Path) -> None:
    file = RunDirectory(tmp_path / "run").plan
    assert (file.read(), file.read_object()) == (None, None)
    file.write_json({"a": [1, "é"]})
    assert file.read_object() == {"a": [1, "é"]}
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["plan.json"]


def test_what_is_appended_stays_in_order(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.append("logs/a", b"one ")
    store.append("logs/a", b"two")
    assert store.read("logs/a") == b"one two"
    assert (store.names("logs"), store.names("none")) == (["a"], [])


@pytest.mark.parametrize("content", ['{"stages": {"samples": "1', "", "[]", "17", "\x00\x00"])
def test_a_damaged_file_is_one_line_with_what_can_be_done(tmp_path: Path, content: str) -> None:
    (tmp_path / "plan.json").write_text(content)
    with pytest.raises(DamagedFile) as caught:
        RunDirectory(tmp_path).plan.read_object()
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'plan.json'} is damaged: ")
    assert message.endswith("; delete it, and what it held is computed again")
    assert "\n" not in message


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
    run = RunDirectory(tmp_path)
    hold = f"from mva_ray.run_dir.layout import RunDirectory\nwith RunDirectory({str(tmp_path)!r}).locked():\n"
    with run.locked():
        other = subprocess.run([sys.executable, "-c", hold + "    pass"], capture_output=True, text=True, check=False)
        assert f"another process is at work in {tmp_path}" in other.stderr
    killed = subprocess.run([sys.executable, "-c", hold + "    import os; os.kill(os.getpid(), 9)"], check=False)
    assert killed.returncode == -9
    with run.locked():
        pass

"""Samples on disk: exact, appended batch by batch, and whole after a kill at any byte."""

from pathlib import Path

import pytest

from mva_ray.records import Generation
from mva_ray.run_dir.local import LocalStore
from mva_ray.run_dir.samples import SampleStore
from mva_ray.run_dir.store import File

FIRST = [[Generation("Why?", 'A "quoted",\nline\u2028 — é 🙂', 5, False), Generation("Why?", "", 0, True)]]
SECOND = [[Generation("Hi", "yes", 1, False, (7, 0))], [Generation("\\u0000\r", "no", 1, True)]]


@pytest.fixture
def store(tmp_path: Path) -> SampleStore:
    return SampleStore(File(LocalStore(tmp_path), "samples/key.jsonl"))


def test_nothing_stored_is_nothing(store: SampleStore) -> None:
    assert store.read() == []
    store.append([])
    assert store.read() == []


def test_samples_come_back_exactly_and_in_order(store: SampleStore) -> None:
    store.append(FIRST)
    store.append(SECOND)
    assert store.read() == FIRST + SECOND
    assert store.read() == FIRST + SECOND


def test_a_kill_at_any_byte_loses_the_last_batch_alone(store: SampleStore, tmp_path: Path) -> None:
    """All of it, though it has several prompts: batches are drawn with random numbers of their own, so that half of
    one could not be continued. What is appended after it is whole: the half line is gone.
    """
    store.append(FIRST)
    path = tmp_path / "samples" / "key.jsonl"
    whole = path.read_bytes()
    store.append(SECOND)
    longer = path.read_bytes()
    for size in range(len(whole), len(longer)):
        path.write_bytes(longer[:size])
        assert store.read() == FIRST
        assert path.read_bytes() == whole
        store.append(SECOND)
        assert store.read() == FIRST + SECOND


def test_samples_of_earlier_versions_have_no_ids(store: SampleStore, tmp_path: Path) -> None:
    """A run goes on with them, and what it adds has."""
    (tmp_path / "samples").mkdir()
    old = '[[{"prompt": "Why?", "completion": "So.", "tokens": 2, "truncated": false}]]'
    (tmp_path / "samples" / "key.jsonl").write_text(f"{old}\n")
    store.append(SECOND)
    assert store.read() == [[Generation("Why?", "So.", 2, False)], *SECOND]
    assert store.read()[0][0].ids is None


def test_a_first_line_cut_short_is_nothing(store: SampleStore, tmp_path: Path) -> None:
    store.append(FIRST)
    path = tmp_path / "samples" / "key.jsonl"
    path.write_bytes(path.read_bytes()[:-1])
    assert store.read() == []
    assert path.read_bytes() == b""

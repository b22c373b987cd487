"""Explorations as jobs: what a cluster is sent, and which job is a run's. Ray's own client needs a cluster."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mva_ray.cluster.job import RUN, exploration, newest
from mva_ray.errors import ConfigError

QUICKSTART = Path(__file__).parents[2] / "tune_configs" / "quickstart.yaml"
URL = "s3://bucket/run 1"


@dataclass
class Submitted:
    submission_id: str
    run: str | None = None
    start_time: int | None = None
    metadata: dict[str, str] | None = field(init=False)

    def __post_init__(self) -> None:
        self.metadata = {RUN: self.run} if self.run else None


def test_a_job_sends_the_folder_of_its_config_and_starts_there() -> None:
    job = exploration(QUICKSTART, URL)
    assert job.folder == QUICKSTART.parent
    assert shlex.split(job.entrypoint) == ["python", "-m", "mva_ray.explore", "--config", QUICKSTART.name, "--run", URL]
    assert job.metadata == {RUN: URL}


def test_a_run_that_would_be_lost_with_the_job_is_refused() -> None:
    with pytest.raises(ConfigError, match="a URL or a shared path"):
        exploration(QUICKSTART, "runs/quickstart")
    assert exploration(QUICKSTART, "/shared/runs/quickstart")


def test_a_file_that_would_not_be_sent_is_named(tmp_path: Path) -> None:
    """`../prompts/one_sentence/train.jsonl` is there, here; a hub id that begins alike is not a file."""
    inside = "prompts/one_sentence/train.jsonl"
    text = QUICKSTART.read_text()
    assert inside in text
    text = text.replace(inside, f"../{inside}")
    (tmp_path / "configs").mkdir()
    config = tmp_path / "configs" / "a.yaml"
    config.write_text(text)
    assert exploration(config, URL)
    (tmp_path / inside).parent.mkdir(parents=True)
    (tmp_path / inside).touch()
    with pytest.raises(ConfigError, match=r"prompts\.train\.path: \.\./prompts/one_sentence/train\.jsonl lies outside"):
        exploration(config, URL)


def test_a_config_that_is_wrong_goes_nowhere(tmp_path: Path) -> None:
    config = tmp_path / "a.yaml"
    config.write_text(QUICKSTART.read_text().replace("candidates:", "candidats:"))
    with pytest.raises(ConfigError, match="candidats"):
        exploration(config, URL)


def test_the_newest_job_of_a_run_is_its_job() -> None:
    jobs = [Submitted("a", URL, 1), Submitted("b", URL, 3), Submitted("c", "s3://other", 9), Submitted("d")]
    assert newest(jobs, URL).submission_id == "b"
    with pytest.raises(ConfigError, match=r"no job of this run; there are jobs of s3://bucket/run 1, s3://other"):
        newest(jobs, "s3://bucket")
    with pytest.raises(ConfigError, match=r"no job of this run$"):
        newest([], URL)

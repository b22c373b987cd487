"""Rewards and models of this disk reach processes of other nodes through the run's store."""

import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mva_ray.adapters.fetch import known_directory, local_directory, shared_model
from mva_ray.adapters.hashes import model_hash
from mva_ray.config.reward import RewardSettings
from mva_ray.evaluation.reward import load_reward, shared_reward
from mva_ray.run_dir.objects import ObjectStore
from mva_ray.run_dir.stores import store_at

REWARD = (
    "from words import weight\n\ndef f(prompts, completions, **kwargs):\n    return [weight(c) for c in completions]\n"
)
WORDS = "def weight(text):\n    return 1.0 + len(text)\n"
ELSEWHERE = """
import pickle, sys
from mva_ray.evaluation.reward import load_reward
print(load_reward(pickle.loads(bytes.fromhex(sys.argv[1])))(["p"], ["abc"]))
"""


@pytest.fixture(autouse=True)
def not_imported() -> Iterator[None]:
    """Each test has a module of that name of its own."""
    yield
    sys.modules.pop("shared_reward_module", None)
    sys.modules.pop("words", None)


def beside(directory: Path) -> RewardSettings:
    """A reward next to its config, of a module with a neighbour."""
    directory.mkdir()
    (directory / "shared_reward_module.py").write_text(REWARD)
    (directory / "words.py").write_text(WORDS)
    return RewardSettings.model_validate("shared_reward_module:f", context={"directory": directory})


def scored_elsewhere(settings: RewardSettings, cwd: Path) -> str:
    """In a process that starts in another directory."""
    command = [sys.executable, "-c", ELSEWHERE, pickle.dumps(settings).hex()]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


def test_a_reward_beside_the_config_is_found_where_the_config_is_not(s3: str, tmp_path: Path) -> None:
    settings = beside(tmp_path / "config")
    shared = shared_reward(settings, store_at(s3))
    assert shared_reward(settings, store_at(s3)).sources == shared.sources
    (tmp_path / "config").rename(tmp_path / "gone")
    assert scored_elsewhere(settings, tmp_path) == "ValueError: there is no module 'shared_reward_module': " + (
        "it is neither installed nor next to the config nor in the current directory"
    )
    assert scored_elsewhere(shared, tmp_path) == "[4.0]"


def test_another_version_of_it_on_a_node_is_not_taken(s3: str, tmp_path: Path) -> None:
    shared = shared_reward(beside(tmp_path / "config"), store_at(s3))
    (tmp_path / "config" / "words.py").write_text(WORDS.replace("1.0", "100"))
    assert scored_elsewhere(shared, tmp_path) == "[4.0]"


def test_data_beside_a_reward_is_read_where_the_config_is(s3: str, tmp_path: Path) -> None:
    """It is not uploaded; processes that see the config's own directory import from there."""
    settings = beside(tmp_path / "config")
    (tmp_path / "config" / "offset").write_text("7")
    (tmp_path / "config" / "words.py").write_text(
        "from pathlib import Path\n\n"
        "def weight(text):\n    return float(Path(__file__).with_name('offset').read_text())\n"
    )
    assert scored_elsewhere(shared_reward(settings, store_at(s3)), tmp_path) == "[7.0]"


def test_installed_rewards_stay_what_they_are(s3: str) -> None:
    settings = RewardSettings(function="mva_ray.rewards:brief")
    assert shared_reward(settings, store_at(s3)) == settings
    assert ObjectStore(s3).names("") == []


def test_models_of_this_disk_are_uploaded_once_and_hub_ids_stay(s3: str, tiny_classifier: Path) -> None:
    store = store_at(s3)
    assert shared_model("org/name", store) == "org/name"
    place = shared_model(str(tiny_classifier), store)
    assert place == shared_model(str(tiny_classifier), store) == f"{s3}/models/{model_hash(tiny_classifier)[:16]}"
    assert model_hash(local_directory(place)) == model_hash(tiny_classifier)
    assert known_directory(place) == local_directory(place) != tiny_classifier
    settings = RewardSettings(model=str(tiny_classifier), label=1)
    shared = shared_reward(settings, store)
    assert shared.model == place
    assert load_reward(shared)(["p"], ["abc"]) == load_reward(settings)(["p"], ["abc"])

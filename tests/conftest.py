"""Fixtures that many tests share. Torch is imported only by the tests that need a model."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.object_store import S3Server


@pytest.fixture(scope="session")
def one_thread() -> None:
    """Tiny models are many times faster without a thread pool."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def float32_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engine, training and classifiers multiply in float32 on every CPU: what they make can be compared with others."""
    monkeypatch.setattr("mva_ray.adapters.base_model._multiplies_bfloat16", lambda: False)


@pytest.fixture(scope="session")
def tiny_model(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a tiny Llama that chats; do not write to it."""
    from tests.support.tiny import make_llama

    return make_llama(tmp_path_factory.mktemp("tiny_model"))


@pytest.fixture(scope="session")
def tiny_gpt2(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a tiny GPT-2; do not write to it."""
    from tests.support.tiny import make_gpt2

    return make_gpt2(tmp_path_factory.mktemp("tiny_gpt2"))


@pytest.fixture(scope="session")
def tiny_classifier(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a tiny sequence classifier with two labels; do not write to it."""
    from tests.support.tiny import make_classifier

    return make_classifier(tmp_path_factory.mktemp("tiny_classifier"), num_labels=2)


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    """A small Ray of this process; it ends with the module."""
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=200 * 2**20)
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def s3_server() -> Iterator["S3Server"]:
    """An S3 server of this session, which honours conditional writes."""
    from tests.support.object_store import S3Server

    server = S3Server()
    yield server
    server.close()


@pytest.fixture
def s3(s3_server: "S3Server", monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """A URL where nothing is yet, and the environment to use it; the node's cache is the test's own."""
    from mva_ray.run_dir.place import object_store

    for name, setting in s3_server.environment.items():
        monkeypatch.setenv(name, setting)
    monkeypatch.setenv("MVA_RAY_CACHE", str(tmp_path / "cache"))
    object_store.cache_clear()
    yield s3_server.new_url()
    object_store.cache_clear()

"""Fixtures that many tests share. Torch is imported only by the tests that need a model."""

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def one_thread() -> None:
    """Tiny models are many times faster without a thread pool."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def float32_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine multiplies in float32 on every CPU, so that it can be compared with a model token by token."""
    monkeypatch.setattr("mva_ray.evaluation.local.native_products", lambda device: None)


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

"""Fixtures that many tests share. Torch is imported only by the tests that need a model."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a tiny Llama that chats; do not write to it."""
    from tests.tiny import make_llama

    return make_llama(tmp_path_factory.mktemp("tiny_model"))


@pytest.fixture(scope="session")
def tiny_gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a tiny GPT-2; do not write to it."""
    from tests.tiny import make_gpt2

    return make_gpt2(tmp_path_factory.mktemp("tiny_gpt2"))


@pytest.fixture(scope="session")
def tiny_classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a tiny sequence classifier with two labels; do not write to it."""
    from tests.tiny import make_classifier

    return make_classifier(tmp_path_factory.mktemp("tiny_classifier"), num_labels=2)

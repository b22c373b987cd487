"""Content hashes of models and adapters: what results depend on. Light: imports no torch."""

import hashlib
from pathlib import Path

WEIGHTS_FILE = "adapter_model.safetensors"
_MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "merges.txt", "vocab.txt")


def adapter_hash(directory: Path) -> str:
    """SHA-256 of the adapter's weights file."""
    return hashlib.sha256((directory / WEIGHTS_FILE).read_bytes()).hexdigest()


def model_hash(directory: Path) -> str:
    """SHA-256 over the model's weights, settings, tokenizer and chat template: what a run's results depend on."""
    digest = hashlib.sha256()
    for path in sorted(path for pattern in _MODEL_FILES for path in directory.glob(pattern)):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()

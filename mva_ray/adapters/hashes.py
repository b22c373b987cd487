"""Content hashes of models and adapters: what results depend on. Light: imports no torch."""

import hashlib
import json
from pathlib import Path

SETTINGS_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
_MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "merges.txt", "vocab.txt")


def adapter_hash(directory: Path) -> str:
    """SHA-256 of the adapter's weights file."""
    return hashlib.sha256((directory / WEIGHTS_FILE).read_bytes()).hexdigest()


def delta_hash(directory: Path) -> str:
    """SHA-256 of all that an adapter adds to its base model: its weights and the settings that scale them."""
    settings = json.loads((directory / SETTINGS_FILE).read_text(encoding="utf-8"))
    scale = {name: settings.get(name) for name in ("r", "lora_alpha", "use_rslora")}
    return hashlib.sha256(f"{adapter_hash(directory)} {json.dumps(scale)}".encode()).hexdigest()


def model_hash(directory: Path) -> str:
    """SHA-256 over the model's weights, settings, tokenizer and chat template: what a run's results depend on."""
    digest = hashlib.sha256()
    for path in sorted(path for pattern in _MODEL_FILES for path in directory.glob(pattern)):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()

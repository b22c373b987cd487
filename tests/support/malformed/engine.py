"""Configs with one mistake each and the messages that they get: the engine and models."""

from tests.support.malformed.good import A_MODEL

ENGINE = {
    # The engine
    "unknown engine": (
        "search:\n",
        "engine: {vllm: {model: m}}\nsearch:\n",
        "line 14, engine.vllm: unknown key; known keys: openai",
    ),
    "engine by name": (
        "search:\n",
        "engine: openai\nsearch:\n",
        "line 14, engine: expected a mapping with openai, got 'openai'",
    ),
    "a server without anything": (
        "search:\n",
        "engine:\n  openai: {}\nsearch:\n",
        "line 15, engine.openai: base_url is missing: expected a URL such as https://host/v1",
        "line 15, engine.openai: model is missing: expected a text",
        "line 15, engine.openai: adapters_dir is missing: expected a directory that the server sees under the same "
        "path",
    ),
    "all that is wrong with a server": (
        "search:\n",
        "engine:\n  openai:\n    base_url: localhost:8000/v1\n    model: ''\n    api_key_env: my-key\n"
        "    adapters_dir: notes.txt\n    max_loras: 0\n    max_lora_rank: high\n    timeout: 0\n    url: x\nsearch:\n",
        "line 16, engine.openai.base_url: expected a URL such as https://host/v1, got 'localhost:8000/v1'",
        "line 17, engine.openai.model: expected a text, got ''",
        "line 18, engine.openai.api_key_env: expected an environment variable, got 'my-key'",
        "line 19, engine.openai.adapters_dir: DIR/notes.txt is a file; expected a directory that the server sees under "
        "the same path",
        "line 20, engine.openai.max_loras: expected a whole number >= 1, got 0",
        "line 21, engine.openai.max_lora_rank: expected a whole number >= 1, got 'high'",
        "line 22, engine.openai.timeout: expected a number > 0, got 0",
        "line 23, engine.openai.url: unknown key; known keys: base_url, model, api_key_env, concurrency, timeout, "
        "attempts, adapters_dir, max_loras, max_lora_rank, restart_timeout",
    ),
    # Models
    "missing .gguf": ("org/model", "other.gguf", "line 2, base_model: there is no file DIR/other.gguf"),
    "missing directory": (
        "org/model",
        "./other",
        f"line 2, base_model: there is no directory DIR/other; expected {A_MODEL}",
    ),
    "neither hub id nor path": (
        "org/model",
        "models/other/latest",
        "line 2, base_model: 'models/other/latest' is no hub id (org/name), and there is no such directory or .gguf "
        "file next to the config",
    ),
    "directory without config": (
        "org/model",
        "empty_model",
        "line 2, base_model: DIR/empty_model is no model directory: it has no config.json",
    ),
    "model that is a file": (
        "org/model",
        "notes.txt",
        f"line 2, base_model: DIR/notes.txt is a file; expected {A_MODEL}",
    ),
    "empty base model": ("org/model", "''", f"line 2, base_model: expected {A_MODEL}, got ''"),
    "missing reward model": (
        "mva_ray.rewards:brief",
        "{model: ./judge}",
        f"line 11, values[1].reward.model: there is no directory DIR/judge; expected {A_MODEL}",
    ),
}

"""A server that speaks as much of vLLM's OpenAI protocol as the engine uses, and really answers: PEFT and transformers.

Names, statuses and error texts are those of vLLM (vllm/entrypoints/openai): a load that the engine refuses is a 500
with its reason, an unknown name a 404, an end token counts in `usage.completion_tokens`.
"""

import copy
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from tests.support.tiny import load

MODEL = "tiny"


class Refusal(Exception):
    """An answer with another status than 200: an error of the protocol, or whatever `body` is."""

    def __init__(self, status: int, message: str = "", body: Any = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = body or {"error": {"message": message, "type": "Error", "param": None, "code": status}}


class OpenAiTestServer:
    """A base model and the adapters that are loaded; `before` may refuse a request by path and body."""

    def __init__(self, model_dir: Path, max_lora_rank: int, key: str | None, before: Callable[..., None]) -> None:
        self._base, self._tokenizer = load(model_dir)
        self.adapters: dict[str, Any] = {}
        self._max_lora_rank = max_lora_rank
        self._key = key
        self._before = before
        self._lock = threading.Lock()
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.most_loaded = 0
        self.busiest = 0
        self._busy = 0
        self.url = ""
        self.gives_ids = True

    def bodies(self, name: str) -> list[dict[str, Any]]:
        """The bodies that came for one path."""
        return [body for path, body in self.asked if path == f"/v1/{name}"]

    def handle(self, path: str, body: dict[str, Any], key: str | None) -> tuple[int, Any]:
        with self._lock:
            self.asked.append((path, body))
            self._busy += 1
            self.busiest = max(self.busiest, self._busy)
        try:
            if self._key is not None and key != f"Bearer {self._key}":
                return 401, {"error": "Unauthorized"}
            self._before(path, body)
            with self._lock:
                return 200, self._route(path, body)
        except Refusal as refusal:
            return refusal.status, refusal.body
        finally:
            with self._lock:
                self._busy -= 1

    def _route(self, path: str, body: dict[str, Any]) -> Any:
        match path:
            case "/v1/load_lora_adapter":
                return self.load(body["lora_name"], body["lora_path"])
            case "/v1/unload_lora_adapter":
                if self.adapters.pop(body["lora_name"], None) is None:
                    raise Refusal(404, f"The lora adapter '{body['lora_name']}' cannot be found.")
                return f"Success: LoRA adapter '{body['lora_name']}' removed successfully."
            case "/v1/completions":
                return self._complete(body)
        raise AssertionError(f"the engine asks for {path}")

    def load(self, name: str, path: str) -> str:
        if name in self.adapters:
            raise Refusal(400, f"The lora adapter '{name}' has already been loaded.")
        if not Path(path, "adapter_config.json").is_file():
            raise Refusal(404, f"Loading lora {name} failed: No adapter found for {path}")
        rank = json.loads(Path(path, "adapter_config.json").read_text())["r"]
        if rank > self._max_lora_rank:
            reason = f"LoRA rank {rank} is greater than max_lora_rank {self._max_lora_rank}."
            raise Refusal(500, f"Call to add_lora method failed: Worker failed with error '{reason}'")
        self.adapters[name] = PeftModel.from_pretrained(copy.deepcopy(self._base), path).eval()
        self.most_loaded = max(self.most_loaded, len(self.adapters))
        return f"Success: LoRA adapter '{name}' added successfully."

    def _complete(self, body: dict[str, Any]) -> Any:
        name = body["model"]
        if name != MODEL and name not in self.adapters:
            raise Refusal(404, f"The model `{name}` does not exist.")
        model = self._base if name == MODEL else self.adapters[name]
        prompt = torch.tensor([body["prompt"]])
        sampling = {"do_sample": body["temperature"] > 0}
        if sampling["do_sample"]:
            torch.manual_seed(body["seed"])
            sampling |= {"temperature": body["temperature"], "top_k": max(0, body["top_k"])}
        ends = list({self._tokenizer.eos_token_id, *body["stop_token_ids"]})
        with torch.inference_mode():
            output = model.generate(
                input_ids=prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=body["max_tokens"],
                eos_token_id=ends,
                pad_token_id=self._tokenizer.pad_token_id,
                **sampling,
            )
        tokens = output[0, prompt.shape[1] :].tolist()
        ended = tokens[-1] in ends
        text = self._tokenizer.decode(tokens[:-1] if ended else tokens, skip_special_tokens=True)
        choice = {"index": 0, "text": text, "finish_reason": "stop" if ended else "length"}
        if body.get("return_token_ids") and self.gives_ids:
            choice["token_ids"] = tokens
        return {"object": "text_completion", "choices": [choice], "usage": {"completion_tokens": len(tokens)}}


def _nothing(path: str, body: dict[str, Any]) -> None:
    pass


@contextmanager
def serving(
    model_dir: Path,
    max_lora_rank: int = 64,
    key: str | None = None,
    before: Callable[[str, dict[str, Any]], None] = _nothing,
) -> Iterator[OpenAiTestServer]:
    served = OpenAiTestServer(model_dir, max_lora_rank, key, before)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, answer = served.handle(self.path, body, self.headers.get("Authorization"))
            content = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

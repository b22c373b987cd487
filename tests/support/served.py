"""A served run of a tiny model, over real sockets, and what each mixture of it says alone."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx2
import openai
import torch
import uvicorn

from mva_ray.evaluation.shared_engine import EngineThread
from mva_ray.serve.app import make_app
from mva_ray.serve.catalogue import Catalogue
from mva_ray.serve.model import ServedModel
from mva_ray.serve.run import listen
from tests.support.runs import add_candidates, make_trained_run
from tests.support.tiny import load, merged

CONTEXT = 96
CANDIDATES = {"left": ((1.5, -0.5), (0.9, 0.1)), "middle": ((0.5, 0.5), (0.6, 0.6)), "right": ((0.0, 2.0), (0.1, 0.9))}


@dataclass(frozen=True)
class Served:
    """
    Args:
        engine: to look into: what is at work there.
    """

    url: str
    model: Path
    adapters: Sequence[Path]
    run: Path
    engine: EngineThread[ServedModel]

    @property
    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0)

    def post(self, path: str, **body: Any) -> httpx2.Response:
        return httpx2.post(self.url + path, json=body, timeout=60)

    def greedy(self, w: Sequence[float], text: str, tokens: int) -> str:
        """What the merged model says after a text, by transformers alone."""
        said, _, _ = self.answer(w, text, tokens)
        return said

    def answer(self, w: Sequence[float], text: str, tokens: int) -> tuple[str, int, list[float]]:
        """The same, how many tokens the text has, and the log-probability of each token of both but the first."""
        model, tokenizer = load(self.model)
        model = merged(model, self.adapters, w)
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            whole = model.generate(ids, max_new_tokens=tokens, do_sample=False)
            logits = model(whole).logits[0, :-1].log_softmax(-1)
        numbers = logits.gather(1, whole[0, 1:, None])[:, 0].tolist()
        return str(tokenizer.decode(whole[0, ids.shape[1] :], skip_special_tokens=True)), ids.shape[1], numbers


def chat_text(turns: Sequence[Mapping[str, str]]) -> str:
    """As the tiny model's template renders a conversation."""
    return "".join(f"<s>{turn['role']} {turn['content']}</s>" for turn in turns) + "<s>assistant "


@contextmanager
def serving(directory: Path, model: Path, **options: Any) -> Iterator[Served]:
    """In float32 on every CPU, to be compared with merged models."""
    adapters = make_trained_run(directory / "run", model)
    add_candidates(directory / "run", CANDIDATES)
    catalogue = Catalogue([directory / "run"])
    rows = options.pop("rows", 8)
    with patch("mva_ray.evaluation.local.native_products", lambda device: None):
        engine = EngineThread(lambda: ServedModel(str(model), catalogue.adapters, CONTEXT, rows), threads=1)
    socket = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(make_app(catalogue, engine, **options), log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]})
    thread.start()
    url = f"http://127.0.0.1:{socket.getsockname()[1]}"
    try:
        yield Served(url, model, adapters, directory / "run", engine)
    finally:
        server.should_exit = True
        thread.join(timeout=30)

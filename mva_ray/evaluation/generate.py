"""Completions by many candidates at once: the plain engine behind the generator actors."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from mva_ray.adapters.base_model import load_base_model, load_tokenizer
from mva_ray.adapters.blend import BlendedModel
from mva_ray.adapters.lora import load_factors
from mva_ray.adapters.prompting import render_prompt
from mva_ray.config import Generation as GenerationSettings
from mva_ray.config import Sampling
from mva_ray.records import AdapterRef, Generation


class Generator:
    """Holds the base model and all value adapters, and answers prompts for any coefficients."""

    def __init__(self, base_model: str, adapters: Sequence[AdapterRef], settings: GenerationSettings) -> None:
        self._tokenizer = load_tokenizer(base_model)
        model = load_base_model(base_model)
        self._blend = BlendedModel(model, [load_factors(Path(ref.path)) for ref in adapters])
        self._device = model.device
        self._settings = settings
        self._end_tokens = _end_tokens(self._tokenizer.eos_token_id, model.generation_config.eos_token_id)

    def answer(self, prompts: Sequence[str], candidates: Sequence[Sequence[float]]) -> list[list[Generation]]:
        """Greedy completions of every prompt by every candidate.

        Args:
            prompts: p user prompts.
            candidates: c >= 1 coefficient vectors, one number an adapter.

        Returns:
            c lists of p generations, in the order given. The result of a candidate depends on the prompts and on the
            number of candidates in the call (the shape of the batch), not on who the others are.
        """
        rendered = [self._render(prompt) for prompt in prompts]
        order = sorted(range(len(prompts)), key=lambda index: len(rendered[index]))
        width = max(1, self._settings.batch_size // len(candidates))
        answers: list[list[Generation | None]] = [[None] * len(prompts) for _ in candidates]
        for start in range(0, len(order), width):
            chunk = order[start : start + width]
            rows = [(candidate, index) for candidate in range(len(candidates)) for index in chunk]
            coefficients = torch.tensor([candidates[c] for c, _ in rows], device=self._device).reshape(len(rows), -1)
            outputs = self._generate([rendered[index] for _, index in rows], coefficients, do_sample=False)
            for (candidate, index), tokens in zip(rows, outputs, strict=True):
                answers[candidate][index] = self._read(prompts[index], tokens)
        return [[answer for answer in row if answer is not None] for row in answers]

    def sample(self, prompts: Sequence[str], sampling: Sampling, seed: int) -> list[list[Generation]]:
        """Several completions a prompt by the base model, for preference pairs.

        Returns:
            one list of `sampling.completions_per_prompt` generations a prompt; reproducible for the same call.
        """
        torch.manual_seed(seed)
        count = sampling.completions_per_prompt
        texts = [self._render(prompt) for prompt in prompts for _ in range(count)]
        base = torch.zeros(len(texts), self._blend.n_adapters, device=self._device)
        outputs = self._generate(texts, base, do_sample=True, temperature=sampling.temperature, top_k=sampling.top_k)
        read = [self._read(prompts[row // count], tokens) for row, tokens in enumerate(outputs)]
        return [read[start : start + count] for start in range(0, len(read), count)]

    def _render(self, prompt: str) -> str:
        return render_prompt(self._tokenizer, prompt, self._settings.system_prompt)

    def _generate(self, texts: Sequence[str], coefficients: Tensor, **options: object) -> Tensor:
        encoded = self._tokenizer(
            list(texts),
            return_tensors="pt",
            padding=True,
            add_special_tokens=self._tokenizer.chat_template is None,
        ).to(self._device)
        with torch.inference_mode(), self._blend.coefficients(coefficients) as model:
            output: Tensor = model.generate(
                input_ids=encoded["input_ids"],
                attention_mask=encoded["attention_mask"],
                max_new_tokens=self._settings.max_new_tokens,
                pad_token_id=self._tokenizer.pad_token_id,
                eos_token_id=list(self._end_tokens),
                **options,
            )
        return output[:, encoded["input_ids"].shape[1] :].cpu()

    def _read(self, prompt: str, tokens: Tensor) -> Generation:
        ids = tokens.tolist()
        end = next((position for position, token in enumerate(ids) if token in self._end_tokens), None)
        completion = self._tokenizer.decode(ids[:end], skip_special_tokens=True)
        return Generation(prompt, completion.strip(), len(ids[:end]), truncated=end is None)


def _end_tokens(tokenizer_end: int | None, model_end: int | list[int] | None) -> tuple[int, ...]:
    listed = model_end if isinstance(model_end, list) else [model_end]
    return tuple(dict.fromkeys(token for token in [tokenizer_end, *listed] if token is not None))

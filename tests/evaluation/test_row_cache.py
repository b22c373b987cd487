"""The static cache: where tokens go by hand, and logits against plain forward passes of whole sequences."""

import gc
import weakref
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, BloomConfig, Llama4TextConfig, MambaConfig, PreTrainedConfig

from mva_ray.evaluation.row_cache import NewTokens, RowCache, Unfit
from tests.support import architectures
from tests.support.architectures import VOCABULARY, WINDOW

CPU = torch.device("cpu")
ATOL = 1e-4
LENGTHS = (37, 1, 50, 16)


def test_tokens_lie_row_by_row() -> None:
    """Two rows in slots 3 and 4: three tokens from position 5 on, one from 0 on."""
    new = NewTokens(3, [5, 0], [3, 1], CPU)
    assert new.rows.tolist() == [0, 0, 0, 1]
    assert new.token_slots.tolist() == [3, 3, 3, 4]
    assert new.positions.tolist() == [5, 6, 7, 0]
    assert new.last.tolist() == [2, 3]
    assert (new.slots, new.length) == (slice(3, 5), 32)


def test_padding_and_taking_it_away() -> None:
    """A row that has fewer tokens is filled with one of its own."""
    new = NewTokens(0, [0, 0, 40], [2, 4, 1], CPU)
    flat = torch.arange(7) * 10
    padded = new.pad(flat)
    assert padded.shape == (3, 16)
    assert padded[:, :5].tolist() == [[0, 10, 10, 10, 10], [20, 30, 40, 50, 50], [60] * 5]
    assert torch.equal(new.unpad(padded), flat)
    assert new.length == 64, "41 tokens, in whole blocks of 32"


def test_one_token_a_row_needs_no_padding() -> None:
    new = NewTokens(0, [7, 31], [1, 1], CPU)
    assert new.pad(torch.tensor([4, 5])).tolist() == [[4], [5]]
    assert new.unpad(torch.tensor([[4], [5]])).tolist() == [4, 5]
    assert new.length == 32


@pytest.mark.parametrize(
    ("window", "first", "second"),
    [
        (None, [0, 1, 2, 3], [0, 1, 2, 3, 4]),
        (3, [1, 2, 3], [2, 3, 4]),
        (1, [3], [4]),
        (99, [0, 1, 2, 3], list(range(5))),
    ],
)
def test_a_query_sees_itself_and_what_is_before_it_in_the_window(
    window: int | None, first: list[int], second: list[int]
) -> None:
    """As in transformers, a window of w are the token itself and w - 1 before it."""
    new = NewTokens(0, [3], [2], CPU)
    mask = new.mask(window, 2, torch.float32)
    assert mask.shape == (1, 1, 32, 32), "two queries in a block of 16, for two heads that share a key"
    seen = [row.isfinite().nonzero().flatten().tolist() for row in mask[0, 0, :4]]
    assert seen == [first, first, second, second]
    assert set(mask[0, 0, 0].tolist()) == {0.0, -torch.inf}


@pytest.fixture(scope="module", params=["llama", "mistral", "gpt2"])
def directory(request: pytest.FixtureRequest, one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return architectures.make(request.param, tmp_path_factory.mktemp(request.param))


def sequences() -> list[list[int]]:
    generator = torch.Generator().manual_seed(4)
    return [torch.randint(VOCABULARY, (length,), generator=generator).tolist() for length in LENGTHS]


@torch.inference_mode()
def computed(cache: RowCache, first: int, texts: Sequence[Sequence[int]], starts: Sequence[int]) -> list[Tensor]:
    """Logits of every token of each row, from a position on."""
    tokens = [token for text in texts for token in text]
    new = NewTokens(first, starts, [len(text) for text in texts], CPU)
    cache.reserve(first + len(texts), max(start + len(text) for start, text in zip(starts, texts, strict=True)))
    logits = cache.forward(torch.tensor(tokens), new, torch.arange(len(tokens)))
    return list(torch.split(logits, [len(text) for text in texts]))


@torch.inference_mode()
def plain(directory: Path) -> list[Tensor]:
    model = architectures.load(directory)
    return [model(torch.tensor([text])).logits[0] for text in sequences()]


def test_rows_of_any_lengths_are_computed_side_by_side(directory: Path) -> None:
    assert max(LENGTHS) > WINDOW
    cache = RowCache(architectures.load(directory))
    for found, wanted in zip(computed(cache, 2, sequences(), [0] * 4), plain(directory), strict=True):
        assert (found - wanted).abs().max() < ATOL


def test_a_row_goes_on_where_it_was_after_moves_and_growth(directory: Path) -> None:
    """The beginnings of rows 0 and 2, moved to other slots of a larger cache, are what their ends look back at."""
    texts, wanted = sequences(), plain(directory)
    cache = RowCache(architectures.load(directory))
    computed(cache, 0, [text[:13] for text in (texts[0], texts[3], texts[2])], [0] * 3)
    cache.reserve(8, 90)
    cache.move([0, 2], [1, 0])
    ends = computed(cache, 0, [texts[2][13:20], texts[0][13:]], [13, 13])
    last = computed(cache, 0, [texts[2][20:]], [20])
    assert (torch.cat([ends[0], *last]) - wanted[2][13:]).abs().max() < ATOL
    assert (ends[1] - wanted[0][13:]).abs().max() < ATOL


def test_what_is_left_in_a_slot_is_not_seen(directory: Path) -> None:
    texts = sequences()
    fresh, used = (RowCache(architectures.load(directory)) for _ in range(2))
    computed(used, 0, [texts[2]], [0])
    assert torch.equal(computed(used, 0, [texts[0]], [0])[0], computed(fresh, 0, [texts[0]], [0])[0])


def test_after_clearing_it_begins_anew(directory: Path) -> None:
    cache = RowCache(architectures.load(directory))
    first = computed(cache, 0, sequences(), [0] * 4)
    cache.clear()
    assert all(map(torch.equal, computed(cache, 0, sequences(), [0] * 4), first))


def test_two_caches_of_two_models_do_not_meet(directory: Path) -> None:
    caches = [RowCache(architectures.load(directory)) for _ in range(2)]
    wanted = plain(directory)
    computed(caches[0], 0, [sequences()[2]], [0])
    assert (computed(caches[1], 0, [sequences()[0]], [0])[0] - wanted[0]).abs().max() < ATOL
    unused = RowCache(architectures.load(directory))
    with pytest.raises(AssertionError, match=r"use RowCache\.forward"):
        unused._model(torch.tensor([[1, 2]]))


def test_a_model_that_nobody_holds_is_gone(directory: Path) -> None:
    """Found on a GPU, where a second model had no room: transformers' table of attention functions held the first."""
    model = architectures.load(directory)
    cache = RowCache(model)
    computed(cache, 0, sequences(), [0] * 4)
    gone = weakref.ref(model)
    del model, cache
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (
            BloomConfig(vocab_size=8, hidden_size=8, n_layer=1, n_head=1),
            "does not use transformers' attention interface",
        ),
        (
            MambaConfig(vocab_size=8, hidden_size=8, state_size=2, num_hidden_layers=1, conv_kernel=2),
            "does not use transformers' attention interface",
        ),
        (
            Llama4TextConfig(
                vocab_size=8,
                hidden_size=8,
                intermediate_size=8,
                intermediate_size_mlp=8,
                num_hidden_layers=4,
                num_attention_heads=1,
                num_key_value_heads=1,
                head_dim=8,
                num_local_experts=1,
            ),
            "has layers of chunked_attention",
        ),
    ],
)
def test_a_model_whose_attention_cannot_be_replaced_is_refused(config: PreTrainedConfig, reason: str) -> None:
    """Rather than wrong answers: positional biases, states and chunks are not in what the cache is told."""
    model = AutoModelForCausalLM.from_config(config)
    with pytest.raises(ValueError, match=f"{type(model).__name__} {reason}"):
        RowCache(model)


@torch.inference_mode()
def test_a_model_that_gives_the_logits_of_all_tokens_is_refused(one_thread: None, tmp_path: Path) -> None:
    model = architectures.load(architectures.make("llama", tmp_path))
    forward = model.forward
    model.forward = lambda *arguments, logits_to_keep, **options: forward(*arguments, **options)
    cache = RowCache(model)
    cache.reserve(1, 5)
    with pytest.raises(Unfit, match="does not compute the logits of chosen tokens alone"):
        cache.forward(torch.arange(2, 7), NewTokens(0, [0], [5], CPU), torch.tensor([4]))

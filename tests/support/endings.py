"""Tiny models whose files say otherwise where an answer ends."""

import json
import shutil
from pathlib import Path
from typing import Any

from tokenizers import processors
from transformers import PreTrainedTokenizerFast

BOS, END, OTHER = 0, 1, 2
"""`<s>`, `</s>` and `<pad>` of the tiny tokenizer; the tiny chat template ends every turn with `</s>`."""

OTHER_TOKEN = "<pad>"


def edit(path: Path, **changes: Any) -> None:
    """Set keys of a JSON file, which may not be there yet; None takes a key out."""
    content = json.loads(path.read_text()) if path.is_file() else {}
    content |= changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def ending(model: Path, directory: Path, eos_token: str | None, ends: list[int] | int | None) -> Path:
    """A copy whose tokenizer names `eos_token`, and whose generation settings name `ends`."""
    shutil.copytree(model, directory)
    edit(directory / "tokenizer_config.json", eos_token=eos_token)
    edit(directory / "generation_config.json", eos_token_id=ends)
    return directory


def adding_ends(model: Path, directory: Path) -> Path:
    """A copy of a model without a template whose tokenizer writes `<s>` before and `</s>` after every text."""
    shutil.copytree(model, directory)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(directory)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", BOS), ("</s>", END)]
    )
    tokenizer.save_pretrained(directory)
    return directory

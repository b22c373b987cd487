"""Rewards: a Python function with TRL's signature, or a Hugging Face sequence classifier."""

import hashlib
import inspect
import json
import math
import reprlib
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from mva_ray.adapters.fetch import known_directory, local_directory, shared_model
from mva_ray.adapters.hashes import model_hash
from mva_ray.adapters.prompting import messages, plain_text
from mva_ray.config.imports import import_function
from mva_ray.config.reward import RewardSettings
from mva_ray.errors import CandidateFailure, last_line
from mva_ray.evaluation.neighbours import OURS, is_installed, neighbours
from mva_ray.records import Prompt
from mva_ray.run_dir.store import Directory, Store
from mva_ray.run_dir.stores import directory_at

MOST_LABELS = 8


class Reward(Protocol):
    """Scores completions, higher is better; `version` changes whenever scores may, `truncated` counts cut inputs."""

    version: str
    truncated: int

    def __call__(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]: ...


def load_reward(settings: RewardSettings) -> Reward:
    """Load what the config names; a classifier is read from disk here, so call this where it will run."""
    if settings.function is not None:
        return FunctionReward(settings)
    return ClassifierReward(settings)


def reward_version(settings: RewardSettings) -> str:
    """The version a loaded reward would have, without loading a classifier's weights."""
    if settings.function is not None:
        return FunctionReward(settings).version
    return _classifier_version(settings)


def score(reward: Reward, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
    """One finite number a completion.

    Raises:
        CandidateFailure: `reward_raised`, `reward_length` or `reward_not_finite`, with the cause.
    """
    try:
        scores = _listed(reward(prompts, completions))
    except (CandidateFailure, KeyboardInterrupt):
        raise
    except BaseException as error:  # a reward may try to end the process, too
        cause = f"{type(error).__name__}: {error}".splitlines()[0]
        raise CandidateFailure("reward_raised", cause) from error
    if len(scores) != len(completions):
        raise CandidateFailure("reward_length", f"returned {len(scores)} scores for {len(completions)} completions")
    for index, number in enumerate(scores):
        if not _finite(number):
            raise CandidateFailure("reward_not_finite", f"returned {number!r} for completion {index}")
    return [float(number) for number in scores]


def _listed(returned: Any) -> list[Any]:
    """What a reward returned, as a list. The keys of a mapping are no scores, and a set has lost their order."""
    if inspect.iscoroutine(returned):
        returned.close()
        raise CandidateFailure("reward_raised", "is async: it returned a coroutine, expected a list of numbers")
    if isinstance(returned, Mapping | Set | str | bytes) or not isinstance(returned, Iterable):
        raise CandidateFailure("reward_raised", f"returned {reprlib.repr(returned)}, expected a list of numbers")
    return list(returned)


def _finite(number: Any) -> bool:
    try:
        return math.isfinite(number)
    except Exception:  # whatever a reward returns instead of a number decides what it raises
        return False


class FunctionReward:
    """`package.module:function`, called as TRL calls it: f(prompts=..., completions=..., **kwargs).

    Its version is the function's `version` attribute, if any, and a hash of its module's source and of those that it
    imports from beside it.
    """

    def __init__(self, settings: RewardSettings) -> None:
        self._function = import_function(settings.source, _directory_here(settings))
        self.version = f"{getattr(self._function, 'version', '')} {_source_hash(settings)}".strip()
        self.truncated = 0

    def __call__(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        returned: list[float] = self._function(prompts=list(prompts), completions=list(completions))
        return returned


def _source_hash(settings: RewardSettings) -> str:
    """Of an imported function's module, and of the neighbours that it imports; "" where it has no file."""
    source, beside = _sources(settings)
    if not source:
        return ""
    digest = hashlib.sha256(source.read_bytes())
    for name, path in sorted(beside.items()):
        digest.update(f"\0{name}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _sources(settings: RewardSettings) -> tuple[Path | None, dict[str, Path]]:
    """The file of an imported function's module, and its neighbours by the names of their modules."""
    module = settings.source.partition(":")[0]
    source = sys.modules[module].__file__
    if not source:
        return None, {}
    directories = [*([settings.directory] if settings.directory else []), Path.cwd()]
    return Path(source), neighbours(module, Path(source), directories)


def shared_reward(settings: RewardSettings, store: Store) -> RewardSettings:
    """The same reward as processes of any node can load it: what it needs of this disk is in the store, too.

    That is a classifier's directory, and a function's module with its neighbours unless it is installed. Other files
    that a function reads are not.
    """
    if settings.model is not None:
        return settings.model_copy(update={"model": shared_model(settings.model, store)})
    import_function(settings.source, settings.directory)
    source, beside = _sources(settings)
    module = settings.source.partition(":")[0]
    if source is None or is_installed(source) or module.partition(".")[0] == OURS:
        return settings
    shared = Directory(store, f"rewards/{_source_hash(settings)}")
    if not shared.exists():
        _publish_sources({module: source, **beside}, shared)
    return settings.with_sources(shared.place)


def _publish_sources(files: Mapping[str, Path], shared: Directory) -> None:
    """Modules by their names, as imports find them."""
    with TemporaryDirectory() as scratch:
        for name, path in files.items():
            target = Path(scratch, *name.split("."))
            target = target / path.name if path.name == "__init__.py" else target.with_name(path.name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        shared.publish(Path(scratch), keep=True)


def _directory_here(settings: RewardSettings) -> Path | None:
    """Where the config is, if the function's sources are there as they were shared, with all that lies beside them."""
    if settings.sources is None or settings.directory is None:
        return settings.directory
    shared = directory_at(settings.sources).fetch()
    files = [path.relative_to(shared) for path in shared.rglob("*.py")]
    return settings.directory if all(_is_same(settings.directory / file, shared / file) for file in files) else shared


def _is_same(one: Path, other: Path) -> bool:
    return one.is_file() and one.read_bytes() == other.read_bytes()


class ClassifierReward:
    """The logit `label` of a sequence classifier for (prompt, completion); longer inputs are cut, and counted.

    Computed in the model's own precision; on a CPU that multiplies bfloat16 natively, products are in that, in half the
    time. Where its tokenizer has a chat template, that is how it reads them, unless the settings say otherwise.
    """

    def __init__(self, settings: RewardSettings) -> None:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        directory = local_directory(settings.source)
        if problems := reward_problems(settings):
            raise ValueError("; ".join(problems))
        self._settings = settings
        self._reads_chats = _reads_chats(settings, directory)
        self._device = "cuda" if settings.resources.num_gpus else "cpu"
        sides = {"truncation_side": "left", "padding_side": "right"}  # in front, padding would move absolute positions
        self._tokenizer = AutoTokenizer.from_pretrained(directory, **sides)
        model, loaded = AutoModelForSequenceClassification.from_pretrained(
            directory, use_safetensors=True, output_loading_info=True
        )
        if missing := sorted(loaded["missing_keys"]):
            raise ValueError(f"{settings.source} is no sequence classifier: it has no {missing[0]}")
        self._model = model.to(self._device).eval()
        self._pad()
        self.version = _classifier_version(settings)
        self.truncated = 0

    def __call__(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        """Texts of like length share a batch, so that little is padded."""
        if not completions:
            return []
        lengths = [len(ids) for ids in self._tokenized(prompts, completions)["input_ids"]]
        self.truncated += sum(length > self._settings.max_length for length in lengths)
        order = sorted(range(len(lengths)), key=lambda index: lengths[index])
        scores = [0.0] * len(order)
        for start in range(0, len(order), self._settings.batch_size):
            batch = order[start : start + self._settings.batch_size]
            numbers = self._score([prompts[index] for index in batch], [completions[index] for index in batch])
            for index, number in zip(batch, numbers, strict=True):
                scores[index] = number
        return scores

    def _score(self, prompts: list[str], completions: list[str]) -> list[float]:
        import torch

        from mva_ray.adapters.base_model import native_autocast

        limit = {"truncation": True, "max_length": self._settings.max_length}
        encoded = self._tokenized(prompts, completions, return_tensors="pt", padding=True, **limit).to(self._device)
        with torch.inference_mode(), native_autocast(self._model.device):
            logits = self._model(**encoded).logits[:, self._settings.label]
        return [float(number) for number in logits.float().cpu()]

    def _tokenized(self, prompts: Sequence[str], completions: Sequence[str], **options: Any) -> Any:
        return reward_inputs(self._tokenizer, prompts, completions, self._reads_chats, **options)

    def _pad(self) -> None:
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        self._model.config.pad_token_id = self._tokenizer.pad_token_id


def reward_inputs(
    tokenizer: Any, prompts: Sequence[Prompt], completions: Sequence[str], chats: bool, **options: Any
) -> Any:
    """What a classifier reads: prompt and completion in its chat template, or as a pair of texts.

    Args:
        options: of the tokenizer.
    """
    if not chats:
        return tokenizer([plain_text(prompt) for prompt in prompts], list(completions), **options)
    texts = [
        str(
            tokenizer.apply_chat_template(
                [*messages(prompt), {"role": "assistant", "content": completion}], tokenize=False
            )
        )
        for prompt, completion in zip(prompts, completions, strict=True)
    ]
    return tokenizer(texts, add_special_tokens=False, **options)


def _classifier_version(settings: RewardSettings) -> str:
    directory = local_directory(settings.source)
    chats = ", chat template" if _reads_chats(settings, directory) else ""
    return f"label {settings.label}, {settings.max_length} tokens{chats}, padded behind, {model_hash(directory)[:12]}"


def reward_problems(settings: RewardSettings) -> list[str]:
    """What the files of a classifier say against its settings, a line each; nothing where they are not here yet."""
    directory = known_directory(settings.model) if settings.model else None
    try:
        return list(_classifier_problems(settings, directory)) if directory else []
    except (OSError, ValueError) as error:
        return [f"the settings of {settings.source} cannot be read: {last_line(error)}"]


def _classifier_problems(settings: RewardSettings, directory: Path) -> Iterator[str]:
    labels = _labels(directory)
    if settings.label >= len(labels):
        yield f"label {settings.label}: {settings.source} has {len(labels)} labels"
    elif len(labels) > 1 and "label" not in settings.model_fields_set:
        listed = ", ".join(f"{number} ({name})" for number, name in enumerate(labels[:MOST_LABELS]))
        more = ", …" if len(labels) > MOST_LABELS else ""
        yield f"{settings.source} has {len(labels)} labels: say with 'label' which one is the reward: {listed}{more}"
    if settings.chat_template and not _has_chat_template(directory):
        yield f"{settings.source} has no chat template: leave 'chat_template: true' out"


def _labels(directory: Path) -> list[str]:
    """Names of a classifier's logits; transformers takes two where its settings name none."""
    settings = _read(directory / "config.json")
    names = settings.get("id2label") or {
        str(number): f"LABEL_{number}" for number in range(settings.get("num_labels", 2))
    }
    return [names[number] for number in sorted(names, key=int)]


def _reads_chats(settings: RewardSettings, directory: Path) -> bool:
    return settings.chat_template is not False and _has_chat_template(directory)


def _has_chat_template(directory: Path) -> bool:
    files = (directory / "chat_template.jinja", directory / "tokenizer_config.json")
    return files[0].is_file() or bool(_read(files[1]).get("chat_template"))


def _read(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return content if isinstance(content, dict) else {}

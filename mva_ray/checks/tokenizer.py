"""What becomes of a config's texts as tokens: whether they end, fit into the model, and pass through its template."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mva_ray.adapters.ends import read_ends
from mva_ray.adapters.model_size import has_weights, model_size
from mva_ray.adapters.prompting import completion_ids, prompt_ids, render_prompt
from mva_ray.adapters.tokenizer_file import read_tokenizer
from mva_ray.checks.data import readable_pairs, readable_prompts
from mva_ray.checks.subject import Finding, Purpose, Subject
from mva_ray.config.document import Location, as_written
from mva_ray.data.doubts import written_dialogues
from mva_ray.errors import RunError, last_line
from mva_ray.records import PreferencePair, Prompt

if TYPE_CHECKING:
    from mva_ray.adapters.prompting import AnyTokenizer

FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tekken.json")
MARK = "A mark that no template writes"


def is_readable(directory: Path) -> bool:
    """Whether there is a tokenizer, and one that can be read."""
    return not _is_missing(directory) and _unreadable(directory) is None


def tokenizer_problems(subject: Subject) -> Iterator[Finding]:
    """A tokenizer that is not there or cannot be read; for a plan alone, a model may have none yet."""
    missing = _is_missing(subject.base)
    if missing and not has_weights(subject.base) and subject.purpose in (Purpose.DRY_RUN, Purpose.DATA_CHECK):
        yield f"{subject.base} has no tokenizer ({FILES[0]}): explore and compare refuse it as it is"
    elif missing:
        yield subject.problem(("base_model",), f"{subject.base} has no tokenizer ({FILES[0]})")
    elif cause := _unreadable(subject.base):
        yield subject.problem(("base_model",), f"the tokenizer of {subject.base} cannot be read: {cause}")


def token_problems(subject: Subject) -> Iterator[Finding]:
    """A model without an end token, or with one that it has no embedding for; nothing is padded with a pad token."""
    tokenizer, rows = read_tokenizer(subject.base), model_size(subject.base).vocabulary
    try:
        read_ends(subject.base, tokenizer)
    except RunError as error:
        yield subject.problem(("base_model",), str(error).removeprefix("base_model: "))
    if (token := tokenizer.eos_token_id) is not None and token >= rows:
        line = f"the eos_token of {subject.base} is token {token}, and the model has embeddings for {rows}"
        yield subject.problem(("base_model",), line)


def template_problems(subject: Subject) -> Iterator[Finding]:
    """Chat templates that refuse what they are given, or leave system turns out without a word."""
    tokenizer, config = read_tokenizer(subject.base), subject.config
    if tokenizer.chat_template is None:
        return
    if cause := _refusal(tokenizer, MARK, None):
        yield subject.problem(("base_model",), f"the chat template of {subject.base} refuses a user's message: {cause}")
        return
    if config.generation.system_prompt is not None:
        yield from _of_system_prompt(subject, tokenizer, config.generation.system_prompt)
    for location, _, pairs in readable_pairs(subject):
        yield from _of_system_turns(subject, tokenizer, location, pairs)
        yield from _of_dialogues(as_written(location), [pair.prompt for pair in pairs])
    for split, prompts in readable_prompts(subject).items():
        yield from _of_dialogues(f"prompts.{split}", prompts)


def length_problems(subject: Subject) -> Iterator[Finding]:
    """Prompts and pairs that the model has no positions for, and training that would find nothing short enough."""
    config, positions = subject.config, model_size(subject.base).positions
    tokenizer, system_prompt = read_tokenizer(subject.base), config.generation.system_prompt
    if _refusal(tokenizer, MARK, system_prompt):
        return
    count = _Counter(tokenizer, system_prompt)
    try:
        yield from _too_short(subject, count)
        if positions is not None:
            yield from _beyond_positions(subject, count, positions)
            yield from _long_pairs(subject, count, positions)
    except Exception as error:  # whatever a template raises for some turns; the messages are jinja's
        yield subject.problem(("base_model",), f"its chat template refuses some of the texts: {last_line(error)}")


def _is_missing(directory: Path) -> bool:
    return not any((directory / name).is_file() for name in FILES)


def _unreadable(directory: Path) -> str | None:
    try:
        read_tokenizer(directory)
    except Exception as error:  # of several libraries
        return f"{type(error).__name__}: {last_line(error)[:300]}"
    return None


def _refusal(tokenizer: "AnyTokenizer", prompt: Prompt, system_prompt: str | None) -> str | None:
    try:
        render_prompt(tokenizer, prompt, system_prompt)
    except Exception as error:  # of jinja, or of what a template calls
        return last_line(error)
    return None


def _of_system_prompt(subject: Subject, tokenizer: "AnyTokenizer", system_prompt: str) -> Iterator[Finding]:
    location = ("generation", "system_prompt")
    if cause := _refusal(tokenizer, "Hello", system_prompt):
        yield subject.problem(location, f"the base model's chat template refuses a system turn: {cause}")
    elif MARK not in render_prompt(tokenizer, "Hello", MARK):
        yield "generation.system_prompt is not seen by the base model: its chat template leaves system turns out"


def _of_system_turns(
    subject: Subject, tokenizer: "AnyTokenizer", location: Location, pairs: Sequence[PreferencePair]
) -> Iterator[Finding]:
    with_system = [pair.prompt for pair in pairs if not isinstance(pair.prompt, str) and pair.prompt[0][0] == "system"]
    if not with_system:
        return
    if cause := _refusal(tokenizer, with_system[0], None):
        line = f"{len(with_system):,} prompts begin with a system turn, and the base model's chat template refuses one"
        yield subject.problem(location, f"{line}: {cause}")
    elif MARK not in render_prompt(tokenizer, (("system", MARK), ("user", "Hello")), None):
        yield (
            f"{as_written(location)}: system turns of {len(with_system):,} prompts are not seen by the base model: its "
            "chat template leaves them out"
        )


def _of_dialogues(where: str, prompts: Sequence[Prompt]) -> Iterator[str]:
    if count := written_dialogues(prompts):
        yield (
            rf"{where}: {count:,} prompts are dialogues in one text (\n\nHuman: …), and the base model's chat template "
            "makes a single user turn of each: give messages, or the last question alone"
        )


class _Counter:
    """Tokens of texts, and how many they have at most, which is cheaper to know: one a byte, and the template's."""

    def __init__(self, tokenizer: "AnyTokenizer", system_prompt: str | None) -> None:
        self._tokenizer = tokenizer
        self._system_prompt = system_prompt
        self.least = self.prompt("x")

    def prompt(self, prompt: Prompt) -> int:
        return len(prompt_ids(self._tokenizer, prompt, self._system_prompt))

    def answer(self, answer: str) -> int:
        return len(completion_ids(self._tokenizer, answer, None)) + 1

    def most(self, prompt: Prompt, answer: str = "") -> int:
        turns = [prompt] if isinstance(prompt, str) else [text for _, text in prompt]
        return sum(len(text.encode()) for text in (*turns, answer)) + (len(turns) + 1) * self.least


def _too_short(subject: Subject, count: _Counter) -> Iterator[Finding]:
    """Training leaves out prompts that fill `max_length`."""
    limit = subject.config.training.max_length
    texts = [(as_written(location), [pair.prompt for pair in pairs]) for location, _, pairs in readable_pairs(subject)]
    if subject.config.sampled_values:
        texts.append(("prompts.train", list(readable_prompts(subject).get("train", ()))))
    for where, prompts in texts:
        if prompts and all(count.prompt(prompt) >= limit for prompt in prompts):
            line = f"no prompt of {where} is shorter than {limit} tokens, so there would be nothing to train on"
            yield subject.problem(("training", "max_length"), line)


def _beyond_positions(subject: Subject, count: _Counter, positions: int) -> Iterator[Finding]:
    new, splits = subject.config.generation.max_new_tokens, readable_prompts(subject)
    if not subject.config.sampled_values:
        splits.pop("train", None)
    if new + count.least > positions:
        line = f"{new} new tokens are too many: with a prompt, the base model has {positions} positions"
        yield subject.problem(("generation", "max_new_tokens"), line)
        return
    for split, prompts in splits.items():
        counted = {prompt: count.prompt(prompt) for prompt in prompts if count.most(prompt) > positions - new}
        if long := [prompt for prompt, tokens in counted.items() if tokens > positions - new]:
            line = (
                f"{len(long):,} prompts are too long for the base model: its {positions} positions leave "
                f"{positions - new} for a prompt beside {new} new tokens, and {long[0][:60]!r} has {counted[long[0]]}"
            )
            yield subject.problem(("prompts", split, "path"), line)


def _long_pairs(subject: Subject, count: _Counter, positions: int) -> Iterator[Finding]:
    """Pairs are cut at `training.max_length`, which may be beyond the model's positions."""
    if (limit := subject.config.training.max_length) <= positions:
        return
    for location, source, pairs in readable_pairs(subject):
        answers = ((pair.prompt, answer) for pair in pairs for answer in (pair.chosen, pair.rejected))
        doubtful = (texts for texts in answers if count.most(*texts) > positions)
        if any(count.prompt(prompt) + count.answer(answer) > positions for prompt, answer in doubtful):
            line = (
                f"{limit} is beyond the base model's {positions} positions, and so are some pairs of "
                f"{as_written(location)} ({source}): give at most {positions}"
            )
            yield subject.problem(("training", "max_length"), line)

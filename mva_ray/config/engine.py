"""Servers that speak the OpenAI protocol, and the config's section `engine`."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo

from mva_ray.config.fields import Count, NonNegative, Positive, Section, Text, absolute_path, at_most

THREADS = at_most(10_000, "each is a thread")
A_DAY = at_most(86_400, "seconds to wait for an answer: a day")


class Endpoint(Section):
    """Where a server is. The key itself is never in the config: `api_key_env` names what holds it."""

    base_url: Annotated[str, Field(pattern=r"^https?://\S+$", description="a URL such as https://host/v1")]
    model: Text
    api_key_env: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$", description="an environment variable")] | None = None
    concurrency: Annotated[Count, THREADS] = 4
    timeout: Annotated[Positive, A_DAY] = 60.0
    attempts: Annotated[Count, at_most(1000, "up to a minute passes between two")] = 5


def check_shared_directory(path: str, info: ValidationInfo) -> str:
    """The absolute path of a directory that may be missing still."""
    absolute = absolute_path(path, info)
    if Path(absolute).exists() and not Path(absolute).is_dir():
        raise ValueError(f"{absolute} is a file; expected {A_SHARED_DIRECTORY}")
    return absolute


A_SHARED_DIRECTORY = "a directory that the server sees under the same path"
SharedDirectory = Annotated[
    str, Field(min_length=1, description=A_SHARED_DIRECTORY), AfterValidator(check_shared_directory)
]


class OpenAiServer(Endpoint):
    """A server with vLLM's calls to load LoRA adapters, which has the base model under the name `model`.

    Candidates go through `adapters_dir`, at most `max_loras` at a time, and `max_lora_rank` is the highest rank that
    the server takes (vLLM's `--max-lora-rank`): a candidate's rank is the sum of its adapters' ranks. A server that was
    there and is gone has `restart_timeout` seconds to come back: vLLM takes minutes to start.
    """

    adapters_dir: SharedDirectory
    max_loras: Annotated[Count, THREADS] = 8
    max_lora_rank: Count = 16
    concurrency: Annotated[Count, THREADS] = 64
    timeout: Annotated[Positive, A_DAY] = 600.0
    restart_timeout: Annotated[NonNegative, A_DAY] = 600.0


class Engine(Section):
    """What answers prompts: our own engine, or a server."""

    openai: OpenAiServer | None = None

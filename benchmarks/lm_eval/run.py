"""lm-evaluation-harness against a served run: pip install lm-eval[api], mva-ray serve runs/quickstart, then

python benchmarks/lm_eval/run.py --model quickstart:brief

Its backend for OpenAI's completions asks for the log-probabilities of each choice (`echo`, `logprobs`, token ids).
"""

import argparse
import json
import os
from pathlib import Path

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--tokenizer", help="of the base model; the directory that the run has it in, if left out")
    arguments = parser.parse_args()
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    from mva_ray.adapters.fetch import local_directory

    os.chdir(HERE)
    found = simple_evaluate(
        model="local-completions",
        model_args={
            "model": arguments.model,
            "base_url": f"{arguments.url}/v1/completions",
            "tokenizer": arguments.tokenizer or str(local_directory("HuggingFaceTB/SmolLM2-135M-Instruct")),
            "num_concurrent": 8,
            "max_retries": 1,
            "tokenized_requests": True,
        },
        tasks=["colours"],
        task_manager=TaskManager(include_path=str(HERE)),
        batch_size=1,
    )
    print(json.dumps(found["results"], indent=2, default=str))


if __name__ == "__main__":
    main()

"""The command line, `mva-ray`. Thin: it parses and calls."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from mva_ray.errors import ConfigError, Interrupted, MvaError, told
from mva_ray.export import Form
from mva_ray.service.query import Query, Split, ask
from mva_ray.service.render import Format, ranking, write
from mva_ray.service.select import select
from mva_ray.service.show import TextOrJson, show
from mva_ray.service.steps import STEPS, names_in
from mva_ray.service.steps import steps as find_steps
from mva_ray.service.wish_text import WishText
from mva_ray.service.wishes import WITHIN
from mva_ray.signals import interruptible

DEFAULT_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"

app = typer.Typer(
    help="The Pareto set of language models aligned with several conflicting values.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

data = typer.Typer(help="Look at the preference data of a config.", no_args_is_help=True)
app.add_typer(data, name="data")

reward = typer.Typer(help="Reward models for values that have preference pairs and no reward.", no_args_is_help=True)
app.add_typer(reward, name="reward")

Config = Annotated[Path, typer.Option(help="YAML file, such as tune_configs/quickstart.yaml.")]
Run = Annotated[str, typer.Argument(metavar="RUN", help="Run directory, a path or a URL.", show_default=False)]
Runs = Annotated[
    list[str], typer.Argument(metavar="RUN...", help="Run directories, paths or URLs.", show_default=False)
]
PromptSplit = Annotated[Split | None, typer.Option("--split", help="Prompts; held_out where there are rows.")]
Prefer = Annotated[str | None, typer.Option(help="Best first by weights: positive=0.7,brief=0.3.")]
At = Annotated[str | None, typer.Option(help="Best first by the means you wish for: positive=0.4,brief=-2.")]
From = Annotated[str | None, typer.Option("--from", help="The candidate you stand on, for the next three.")]
Improve = Annotated[str | None, typer.Option(help="Best first by values to raise: brief, or brief=-2.")]
Keep = Annotated[str | None, typer.Option(help="Values that must not fall: honest,polite.")]
Allow = Annotated[str | None, typer.Option(help="Values that may fall, and how low: positive=0.2.")]
Address = Annotated[str, typer.Option(help="The cluster head's dashboard.")]

LOOPBACK = "127.0.0.1"
ADDRESS = "http://127.0.0.1:8265"
"""Where `ray dashboard cluster.yaml` brings the head's dashboard."""


@app.command()
def pareto(
    runs: Runs,
    everything: Annotated[bool, typer.Option("--all", help="All candidates, also those left out.")] = False,
    where: Annotated[str | None, typer.Option(help="SQL condition, such as 'positive > 0.4'.")] = None,
    sort: Annotated[str | None, typer.Option(help="Column to sort by; descending after a leading '-'.")] = None,
    prefer: Prefer = None,
    at: At = None,
    start: From = None,
    improve: Improve = None,
    keep: Keep = None,
    allow: Allow = None,
    presets: Annotated[
        float | None, typer.Option(help="The fewest that serve every preference within so many percent.")
    ] = None,
    after: Annotated[int | None, typer.Option(min=0, help="As it was after so many evaluations of the search.")] = None,
    split: PromptSplit = None,
    limit: Annotated[int | None, typer.Option(min=0, help="Show the first so many.")] = None,
    output_format: Annotated[Format, typer.Option("--format", help="How to write it.")] = "table",
    output: Annotated[Path | None, typer.Option(help="Write to this file instead of the terminal.")] = None,
) -> None:
    """Show the Pareto front of a run, or of several, by default as re-scored on the held-out prompts."""
    said = WishText(prefer=prefer, at=at, start=start, improve=improve, keep=keep, allow=allow)
    wish = said if said.options else None
    answer = ask(runs, Query(split, everything, where, sort, None, limit, wish, presets, after))
    write(answer, output_format, output, sys.stdout)
    if output_format != "table":
        for line in (ranking(answer), *answer.doubts):
            if line:
                typer.echo(line, err=True)


@app.command()
def tradeoffs(
    run: Run,
    start: Annotated[str | None, typer.Option("--from", help="Only the steps from this candidate.")] = None,
    split: PromptSplit = None,
    output_format: Annotated[TextOrJson, typer.Option("--format", help="How to write it.")] = "table",
) -> None:
    """Say what neighbours on the front cost each other, and how sure each place on the front is."""
    from mva_ray.service.tradeoffs import tradeoffs as find_tradeoffs

    show(find_tradeoffs(run, split, start), output_format, sys.stdout)


@app.command()
def diff(
    run: Run,
    first: Annotated[str, typer.Argument(metavar="A", help="A candidate, by its name or the beginning of it.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    prompts: Annotated[int, typer.Option(min=0, help="Show so many prompts, the most different first.")] = 5,
    split: PromptSplit = None,
    output_format: Annotated[TextOrJson, typer.Option("--format", help="How to write it.")] = "table",
) -> None:
    """Compare two candidates: a paired test for each value, and the answers that differ most side by side."""
    from mva_ray.service.diff import diff as find_diff

    show(find_diff(run, first, second, split, prompts), output_format, sys.stdout)


@app.command()
def history(
    run: Run,
    split: Annotated[Split, typer.Option(help="Prompts.")] = "search",
    output_format: Annotated[TextOrJson, typer.Option("--format", help="How to write it.")] = "table",
) -> None:
    """Show how the front grew: after which evaluation, and how much of the box it covered."""
    from mva_ray.service.history import history as find_history

    show(find_history(run, split), output_format, sys.stdout)


@app.command()
def steps(
    run: Run,
    towards: Annotated[str | None, typer.Option(help="Candidates you have walked towards: 9745dd27,2d65.")] = None,
    of: Annotated[int, typer.Option(help="Steps from the worst corner to the front.")] = STEPS,
    split: PromptSplit = None,
    output_format: Annotated[TextOrJson, typer.Option("--format", help="How to write it.")] = "table",
) -> None:
    """Walk from the worst of the front to one of its models, and never give anything up (E-NAUTILUS)."""
    show(find_steps(run, names_in(towards), of, split), output_format, sys.stdout)


@app.command()
def explore(
    config: Config,
    run: Annotated[
        str | None, typer.Option(help="Path or URL of the run; runs/<name of the config> if left out.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and print the plan only.")] = False,
) -> None:
    """Train the value adapters, search the coefficients, fill the Pareto table."""
    from mva_ray.explore import explore_and_show, show_plan

    with interruptible():
        (show_plan if dry_run else explore_and_show)(config, run)


@app.command()
def compare(
    config: Config,
    directory: Annotated[
        str | None, typer.Option("--run", help="Path or URL; runs/<name of the config>_compare if left out.")
    ] = None,
) -> None:
    """Train and evaluate MVA, its ablations and the baselines alike, over several seeds, and write one report."""
    from mva_ray.compare.ray_compare import compare as run_comparison

    with interruptible():
        found = run_comparison(config, directory)
    typer.echo(f"report: {found}/report.html\nsummary: {found}/README.md")


@app.command()
def fetch(model: Annotated[str, typer.Argument(help="Hub id.")] = DEFAULT_MODEL) -> None:
    """Put a base model into the cache and print where it is."""
    from mva_ray.adapters.fetch import fetch as fetch_model

    typer.echo(fetch_model(model))


@app.command()
def status(run: Run) -> None:
    """Show how far a run is, at work or not: stages, candidates, front, pace, failures with their reasons."""
    from mva_ray.service.render import write_status
    from mva_ray.service.status import status as status_of

    write_status(status_of(run), sys.stdout)


@app.command("export")
def export_candidate(
    run: Run,
    out: Annotated[Path, typer.Option(help="A directory, made by the command.")],
    candidate: Annotated[str | None, typer.Option(help="As mva-ray pareto names it.")] = None,
    prefer: Prefer = None,
    at: At = None,
    start: From = None,
    improve: Improve = None,
    keep: Keep = None,
    allow: Allow = None,
    preset: Annotated[str | None, typer.Option(help="knee, or preset1 and so on of --within.")] = None,
    within: Annotated[float, typer.Option(help="Percent, as of mva-ray pareto --presets.")] = WITHIN,
    form: Annotated[Form, typer.Option("--as", help="An adapter, one of a lower rank, or a whole model.")] = "adapter",
    rank: Annotated[int | None, typer.Option(min=1, help="Of --as compressed.")] = None,
) -> None:
    """Write a candidate for peft, transformers or vLLM, with a card that says what it is."""
    name = select(run, WishText(candidate, prefer, at, start, improve, keep, allow, preset, within))
    from mva_ray.export.candidate import find
    from mva_ray.export.write import write as write_candidate

    found = find(run, name)
    typer.echo("\n".join([f"candidate {found.evaluation.candidate}", *write_candidate(found, form, out, rank)]))


@app.command()
def serve(
    runs: Runs,
    host: Annotated[str, typer.Option(help="Address to listen at; others than this machine need a token.")] = LOOPBACK,
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8000,
    token: Annotated[
        str | None, typer.Option(envvar="MVA_RAY_TOKEN", show_envvar=True, help="That every request must carry.")
    ] = None,
    context: Annotated[int | None, typer.Option(min=2, help="Most tokens of prompt and answer.")] = None,
    rows: Annotated[int | None, typer.Option(min=1, help="Answers given at once; what fits, if left out.")] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds that one answer may take.")] = 600.0,
    explore: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="Let those who may ask start explorations: configs are kept here, and may run any Python.",
        ),
    ] = None,
    explored: Annotated[
        str | None, typer.Option("--runs", metavar="PLACE", help="Path or URL below which these go; runs if left out.")
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Run them as jobs of the Ray cluster with this head.")
    ] = None,
) -> None:
    """Answer by any mixture of a run's values, over OpenAI's protocol; look at runs and choose from them in a page."""
    from mva_ray.serve.explorations import explorations
    from mva_ray.serve.run import serve as serve_runs

    others = {"--runs": explored, "--cluster": cluster}
    if explore is None and any(others.values()):
        problem = "is about explorations that are started here, which --explore FOLDER allows"
        raise ConfigError("mva-ray serve", [f"{name}: {problem}" for name, given in others.items() if given])
    started = explorations(explore, explored or "runs", cluster) if explore is not None else None
    serve_runs(runs, host, port, token, context, rows, timeout, started)


@app.command()
def submit(
    config: Config,
    run: Annotated[str, typer.Option(help="URL of the run, or a path that all nodes share.")],
    address: Address = ADDRESS,
    log_json: Annotated[bool, typer.Option("--log-json", help="Have the job say everything in JSON lines.")] = False,
) -> None:
    """Start an exploration as a job of a Ray cluster, where it goes on by itself."""
    from mva_ray.cluster.job import exploration
    from mva_ray.cluster.ray_jobs import Jobs

    job = exploration(config, run, log_json)
    typer.echo(f"submitted {Jobs(address).submit(job)}: mva-ray logs {run}, or mva-ray status {run}")


@app.command()
def logs(run: Run, address: Address = ADDRESS) -> None:
    """Show what the newest job of a run prints, until it ends; exit code 1 where it fails."""
    from mva_ray.cluster.ray_jobs import Jobs

    state = Jobs(address).follow(run, sys.stdout)
    typer.echo(f"the job ended: {state}", err=True)
    if state != "SUCCEEDED":
        raise typer.Exit(1)


@app.command()
def cancel(run: Run, address: Address = ADDRESS) -> None:
    """Ask the newest job of a run to stop; what it computed is kept."""
    from mva_ray.cluster.ray_jobs import Jobs

    typer.echo(f"asked {Jobs(address).cancel(run)} to stop: mva-ray submit goes on from there")


@app.command()
def report(run: Run) -> None:
    """Write the plot and the HTML report of a run and print where they are."""
    from mva_ray.report import write_report

    typer.echo(write_report(run))


@app.command()
def page(
    run: Run,
    out: Annotated[Path, typer.Option(help="An HTML file, made by the command.")],
) -> None:
    """Write the page of a run as one file that needs no server: everything but talking to the models."""
    if out.exists():
        raise ConfigError("--out", [f"{out} is there already: give another name, or delete it first"])
    from mva_ray.serve.bundle import bundle_at

    content = bundle_at(run)
    try:
        out.write_text(content, encoding="utf-8")
    except OSError as error:
        raise ConfigError("--out", [f"{out} cannot be written: {error.strerror or error}"]) from None
    typer.echo(f"{out}: {out.stat().st_size / 2**20:.1f} MB")


@data.command()
def check(config: Config) -> None:
    """Count pairs, bad rows, lengths, prompts in two places, and how often values prefer opposite answers."""
    from mva_ray.checks.show_data import show_data

    show_data(config, sys.stdout)


@reward.command()
def train(
    pairs: Annotated[str, typer.Argument(help="A file, or what follows `pairs:` in a config: '{hub: …}'.")],
    out: Annotated[Path, typer.Option(help="A directory, made by the command.")],
    base: Annotated[str, typer.Option(help="Causal LM: hub id, directory or .gguf file.")] = DEFAULT_MODEL,
    held_out: Annotated[float, typer.Option(min=0.05, max=0.9, help="Share of the pairs to judge it by.")] = 0.2,
    epochs: Annotated[float, typer.Option(min=0.01)] = 1.0,
    learning_rate: Annotated[float, typer.Option(min=1e-8, max=1.0)] = 1e-4,
    max_length: Annotated[int, typer.Option(min=16, help="Tokens; longer texts lose their beginning.")] = 512,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Train a reward model on preference pairs, and say how often it agrees with pairs that it has not seen."""
    from mva_ray.config.values import pair_source
    from mva_ray.reward_model.train import Recipe, train_reward

    recipe = Recipe(base, held_out, epochs, learning_rate, max_length=max_length, seed=seed)
    found = train_reward(pair_source(pairs), recipe, out)
    typer.echo(f"{found.pairs} pairs in {found.seconds:.0f} s; {found.judged}")
    typer.echo(f"in a config: reward: {{model: {out}, max_length: {max_length}}}")


def main() -> None:
    """Entry point of `mva-ray`: an expected error is one message on stderr and an exit code, no traceback."""
    try:
        app()
    except (MvaError, Interrupted) as error:
        typer.echo(told(error), err=True)
        sys.exit(error.exit_code)
    finally:
        _flush_output()


def _flush_output() -> None:
    """Write out what is buffered; where the reader has gone away, to nowhere, since Python would complain at exit."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

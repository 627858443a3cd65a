"""The command line: one command per job, one JSON object for scripts, errors in one line."""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from components.errors import DataError, HeadraceError

app = typer.Typer(
    name="headrace",
    help="Stream, clean, normalize and augment large datasets with Ray Data into Ray Train.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
RecipeArgument = Annotated[
    str, typer.Argument(metavar="RECIPE", help="Path of a recipe, or the name of a shipped one.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Overrides, as train.epochs=3."),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on standard output, nothing else.")
]
DatasetArgument = Annotated[
    Path, typer.Argument(metavar="DATASET", help="Folder of a prepared data set.")
]
_INTERRUPTED = 130
_errors = Console(stderr=True)


@app.command()
def plan(recipe: RecipeArgument, overrides: Overrides = None, as_json: JsonOption = False) -> None:
    """Print what a run will do here, and refuse what cannot run."""

    def job() -> dict[str, Any]:
        from pipelines.plan import planned
        from pipelines.plan_page import plan_as_dict, print_plan
        from pipelines.recipe import load_recipe

        loaded = load_recipe(recipe, overrides or [])
        with planned(loaded) as decided:
            if not as_json:
                print_plan(loaded, decided, Console())
            return plan_as_dict(decided)

    _do(job, as_json, lambda result: None)


@app.command()
def prepare(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Tables: only learn the schema and print it.")
    ] = False,
    export: Annotated[
        Path | None,
        typer.Option(help="Tables: write the prepared records to this CSV file, before scaling."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Read, check, clean, split and store the data as shards with a manifest."""

    def job() -> dict[str, Any]:
        from pipelines.jobs import prepare_job, schema_job

        if schema:
            return schema_job(recipe, overrides or [], _errors)
        return prepare_job(recipe, overrides or [], _errors, export)

    _do(job, as_json, _print_schema if schema else _print_prepared)


@app.command()
def inspect(
    dataset: DatasetArgument,
    html: Annotated[Path | None, typer.Option(help="Also write the page to this file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show a prepared data set: counts, schema, findings, quarantine and samples."""

    def job() -> dict[str, Any]:
        from pipelines.inspect_dataset import inspect_dataset, print_inspection

        result = inspect_dataset(dataset, html)
        if not as_json:
            print_inspection(result)
        return result

    _do(job, as_json, lambda result: None)


@app.command()
def diff(one: DatasetArgument, other: DatasetArgument, as_json: JsonOption = False) -> None:
    """Say what changed between two prepared data sets."""

    def job() -> dict[str, Any]:
        from pipelines.compare import diff_datasets

        return diff_datasets(one, other)

    def show(result: dict[str, Any]) -> None:
        from pipelines.compare import print_diff

        print_diff(result)

    _do(job, as_json, show)


@app.command()
def show(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    record: Annotated[str, typer.Option(help="Record id, or its first digits.")] = "",
    epoch: Annotated[list[int] | None, typer.Option(min=0, help="From 0; may be repeated.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Draw what the model sees of one record in some epochs, whether trained yet or not."""

    def job() -> dict[str, Any]:
        from pipelines.jobs import show_job

        return show_job(recipe, overrides or [], record, epoch or [0])

    def told(result: dict[str, Any]) -> None:
        Console().print_json(data=result)

    _do(job, as_json, told)


@app.command("clean-cache")
def clean_cache(
    output: Annotated[Path, typer.Option(help="Folder that runs are written to.")] = Path("runs"),
    older_than_days: Annotated[
        float, typer.Option(min=0.0, help="Only what was not changed for so long.")
    ] = 0.0,
    datasets: Annotated[
        bool, typer.Option("--datasets", help="Also data sets that no package was trained on.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove the stages of prepare that are kept for the next time."""

    def job() -> dict[str, Any]:
        from pipelines.clean_cache import clean_cache as clean

        return clean(output, older_than_days=older_than_days, datasets=datasets)

    def show(result: dict[str, Any]) -> None:
        for name in result["removed"]:
            print(f"removed  {name}")
        for name in result["in_use"]:
            print(f"in use   {name}")
        print(f"freed    {result['freed_bytes'] / 2**20:,.1f} MiB")

    _do(job, as_json, show)


@app.command()
def train(recipe: RecipeArgument, overrides: Overrides = None, as_json: JsonOption = False) -> None:
    """Train on the prepared data and write the model package."""

    def job() -> dict[str, Any]:
        from pipelines.jobs import train_job

        return train_job(recipe, overrides or [], _errors)

    _do(job, as_json, _print_run)


@app.command()
def evaluate(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    package: Annotated[
        Path | None, typer.Option(help="Model package; default: the recipe's newest.")
    ] = None,
    dataset: Annotated[
        Path | None, typer.Option(help="Prepared data set; default: the package's own.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Evaluate a model package on the prepared val and test splits."""

    def job() -> dict[str, Any]:
        from pipelines.jobs import evaluate_job

        return evaluate_job(recipe, overrides or [], package, dataset, _errors)

    _do(job, as_json, _print_run)


@app.command()
def compress(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    package: Annotated[
        Path | None,
        typer.Option(help="Model package; default: the newest that the recipe trained."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Do the recipe's compression steps to a trained package, and measure both."""

    def job() -> dict[str, Any]:
        from pipelines.jobs import compress_job

        return compress_job(recipe, overrides or [], package, _errors)

    def show(result: dict[str, Any]) -> None:
        from pipelines.compress_page import print_compressed

        print_compressed(result, Console())

    _do(job, as_json, show)


@app.command()
def run(recipe: RecipeArgument, overrides: Overrides = None, as_json: JsonOption = False) -> None:
    """Plan, prepare, train, evaluate and report: the whole road."""

    def job() -> dict[str, Any]:
        from pipelines.jobs import run_job

        return run_job(recipe, overrides or [], _errors)

    _do(job, as_json, _print_run)


@app.command()
def doctor(
    output: Annotated[Path, typer.Option(help="Folder that runs are written to.")] = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Look at what this machine or cluster has, and what is missing or wrong."""

    def job() -> dict[str, Any]:
        from pipelines.jobs import doctor_job

        return doctor_job(output, None if as_json else Console())

    _do(job, as_json, lambda result: None)


@app.command()
def recipe(
    recipe: Annotated[str | None, typer.Argument(metavar="RECIPE")] = None,
    overrides: Overrides = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON schema of recipes, for editors.")
    ] = False,
) -> None:
    """Print the resolved recipe, with every default filled in."""

    def job() -> dict[str, Any]:
        from pipelines.recipe import load_recipe, recipe_schema, resolved_yaml

        if schema:
            print(json.dumps(recipe_schema(), indent=2))
        elif recipe is None:
            raise DataError("name a recipe, as in `recipe digits`, or ask for --schema")
        else:
            print(resolved_yaml(load_recipe(recipe, overrides or [])), end="")
        return {}

    _do(job, False, lambda result: None)


def _do(
    job: Callable[[], dict[str, Any]], as_json: bool, show: Callable[[dict[str, Any]], None]
) -> None:
    """Run a job; turn what happens into an exit code and, at most, a few lines."""
    signal.signal(signal.SIGTERM, _terminated)
    # Libraries print to standard output as they like; with --json it belongs to the result.
    stdout = os.dup(1) if as_json else None
    if stdout is not None:
        sys.stdout.flush()
        os.dup2(2, 1)
    try:
        result = job()
    except HeadraceError as error:
        for line in str(error).splitlines():
            _errors.print(f"[bold red]error:[/] {_escaped(line)}", highlight=False, soft_wrap=True)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        _errors.print("interrupted", highlight=False)
        raise typer.Exit(_INTERRUPTED) from None
    finally:
        if stdout is not None:
            sys.stdout.flush()
            os.dup2(stdout, 1)
    if as_json:
        print(json.dumps(result), flush=True)
    else:
        show(result)
    if result.get("ok") is False:
        raise typer.Exit(1)


def _terminated(signum: int, frame: object) -> None:
    # SystemExit runs the same cleaning up as Ctrl-C: MLflow says KILLED, Ray is shut down.
    raise SystemExit(128 + signum)


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")


def _print_prepared(result: dict[str, Any]) -> None:
    console = Console()
    for name in ("dataset", "export"):
        if name in result:
            console.print(f"{name:<8} {result[name]}", highlight=False)


def _print_schema(result: dict[str, Any]) -> None:
    from components.tables.inference.infer import schema_text
    from components.tables.schema import TableSchema

    for line in schema_text(TableSchema.model_validate(result)):
        print(line)


_METRICS = {
    "accuracy": "accuracy",
    "rmse": "RMSE",
    "mae": "MAE",
    "r2": "R2",
    "loss": "loss",
    "f1_macro": "F1",
}


def _print_run(result: dict[str, Any]) -> None:
    console = Console()
    for split, metrics in result.get("metrics", {}).items():
        told = [
            f"{shown} {metrics[name]:,.4f}" for name, shown in _METRICS.items() if name in metrics
        ]
        console.print(f"{split:<5} {'   '.join(told)}", highlight=False)
    for name in ("run", "dataset", "package", "report"):
        if name in result:
            console.print(f"{name:<8} {result[name]}", highlight=False)


def main() -> None:
    """Entry point of `headrace` and `python -m pipelines`."""
    try:
        app()
    except SystemExit as ended:
        if ended.code != _INTERRUPTED:
            raise
        # All is put away by now. A thread of Ray that was stopped in the middle of a stream may
        # wait for ever, and Python's own end waits for it.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_INTERRUPTED)

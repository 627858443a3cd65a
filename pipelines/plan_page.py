"""The plan as a person reads it, and as a script does."""

from typing import Any

from rich.console import Console
from rich.table import Table

from components.sources.listing import Listing
from pipelines.folders import shown
from pipelines.plan import RunPlan
from pipelines.recipe import Recipe


def plan_as_dict(plan: RunPlan) -> dict[str, Any]:
    """The plan for `--json`."""
    return {
        "stages": {"prepare": "cached" if plan.prepare.cached else "to do"},
        "dataset": shown(plan.prepare.target),
        "records": plan.records,
        "records_exact": plan.exact,
        "prepared_bytes": plan.prepared_bytes,
        "steps_per_epoch": plan.batches.num_steps,
        "batch_size": plan.batches.batch_size,
        "batch_size_per_worker": plan.batches.batch_size // plan.batches.world_size,
        "num_parameters": plan.num_parameters,
        "resources": plan.resources.as_dict(),
        "kept_decoded_share": round(plan.kept_share, 3),
        "estimates_s": {name: round(value, 1) for name, value in plan.estimates_s.items()},
    }


def print_plan(recipe: Recipe, plan: RunPlan, console: Console) -> None:
    """Print the plan as a small table."""
    table = Table(title=f"plan of {recipe.name}", title_justify="left", show_header=False, box=None)
    table.add_column(style="bold")
    table.add_column()
    for name, text in _rows(recipe, plan):
        table.add_row(name, text)
    console.print(table)


def _rows(recipe: Recipe, plan: RunPlan) -> list[tuple[str, str]]:
    resources, records = plan.resources, plan.records
    about = "" if plan.exact else "about "
    splits = ", ".join(f"{count:,} {split}" for split, count in records.items())
    where = "running cluster" if resources.running_cluster else "a Ray of its own"
    share = (
        f"{resources.worker_cpus} CPU"
        if resources.worker_cpus
        else "no CPU of its own (shares the cores with Data)"
    )
    gpu = ", 1 GPU" if resources.worker_gpus else ""
    state = "cached" if plan.prepare.cached else f"{plan.prepare.num_records:,} to read"
    size = f"{about}{plan.prepared_bytes / 2**20:,.1f} MiB in shards"
    workers = f"{resources.num_workers} {'worker' if resources.num_workers == 1 else 'workers'}"
    steps = plan.batches.num_steps
    estimates = ", ".join(f"{name} {value:.0f} s" for name, value in plan.estimates_s.items())
    return [
        ("prepare", f"{state} ({_form(plan)}); {size}"),
        ("records", f"{about}{splits}"),
        (
            "model",
            f"{recipe.model.name}, {_model_text(plan)}, {resources.device}",
        ),
        (
            "train",
            f"{recipe.train.epochs} epochs x {steps} steps of {recipe.train.batch_size} records "
            f"({recipe.train.batch_size // resources.num_workers} per worker)",
        ),
        *([("sampling", sampling)] if (sampling := str(recipe.train.sampling)) else []),
        (
            "resources",
            f"{where}, {resources.cluster_cpus:g} CPUs, {resources.cluster_gpus:g} GPUs: "
            f"{workers} with {share}{gpu} each; Data keeps {resources.data_cpus} CPU",
        ),
        (
            "memory",
            f"{resources.object_store_bytes / 2**20:,.0f} MiB object store{_kept(recipe, plan)}; "
            "the driver holds no records",
        ),
        ("estimate", estimates),
        ("output", recipe.output),
    ]


def _kept(recipe: Recipe, plan: RunPlan) -> str:
    share = plan.kept_share
    if not share or recipe.train.epochs < 2:
        return ""
    which = "all" if share == 1 else f"{share:.0%}"
    room = plan.resources.cache_bytes / 2**20
    return f", {room:,.0f} MiB of it for decoded records ({which} of train and val)"


def _model_text(plan: RunPlan) -> str:
    if plan.num_parameters is None:
        return "as large as the columns ask for, which prepare finds out"
    return f"{plan.num_parameters:,} parameters, {plan.model_input}"


def _form(plan: RunPlan) -> str:
    listing = plan.prepare.listing
    return listing.format if isinstance(listing, Listing) else listing.form

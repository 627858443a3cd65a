"""A training that can be looked into: the recipe's road with an in-memory tracker."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

import pipelines.train
from clusters.resources import ResourcePlan, plan_resources
from clusters.session import capacity_of
from components.tracking.tracker import MemoryTracker
from components.training.checkpoint import load_checkpoint
from pipelines.folders import new_run_folder, staging_folder
from pipelines.prepare import PreparedData, plan_prepare, prepare
from pipelines.recipe import Recipe, load_recipe
from pipelines.train import Trained, train

SMALL = (
    "input.image_px=8",
    "model.width=8",
    "model.depth=2",
    "model.norm=group",
    "train.schedule.warmup_epochs=0",
    "tracking.system_metrics=false",
)


@dataclass(frozen=True)
class Outcome:
    """What a training ended with; `digests` has each rank's parameters, hashed."""

    trained: Trained
    parameters: dict[str, torch.Tensor]
    digests: list[str]
    tracker: MemoryTracker


@pytest.fixture(scope="session")
def digits(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    """The digits, prepared once."""
    output = tmp_path_factory.mktemp("digits")
    recipe = load_recipe("digits", [f"output={output}"])
    with staging_folder(output) as staging:
        return prepare(recipe, plan_prepare(recipe, staging), lambda *_: None)


@pytest.fixture
def fit(
    digits: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    """Train on the digits with some workers and overrides; everything else is as in `run`."""

    def run(overrides: Sequence[str], *, workers: int = 1) -> Outcome:
        recipe: Recipe = load_recipe(
            "digits", [*SMALL, f"output={tmp_path}", f"cluster.workers={workers}", *overrides]
        )
        plan: ResourcePlan = plan_resources(recipe.cluster, capacity_of(recipe.cluster))
        # One thread in each: the number of threads changes the order of additions.
        plan = replace(plan, worker_threads=1)
        folder = new_run_folder(tmp_path, "digits")
        monkeypatch.setattr(pipelines.train, "train_worker", spying_worker(folder.path))
        tracker = MemoryTracker()
        trained = train(recipe, plan, digits, folder, tracker, lambda report: None)
        latest = max(p.parent for p in folder.path.glob("checkpoints/*/checkpoint.pt"))
        digests = [json.loads(p.read_text()) for p in sorted(folder.path.glob("rank-*.json"))]
        return Outcome(trained, dict(load_checkpoint(latest).model_state), digests, tracker)

    return run


def spying_worker(folder: Path) -> Callable[[dict[str, Any]], None]:
    """The real worker, which also writes down a digest of the parameters that it ends with."""

    def worker(config: dict[str, Any]) -> None:
        import hashlib

        import ray.train

        import pipelines.train as real

        train_epochs = real.train_epochs

        def spied(model: torch.nn.Module, *arguments: Any, **named: Any) -> None:
            train_epochs(model, *arguments, **named)
            data = b"".join(p.detach().numpy().tobytes() for p in model.parameters())
            rank = ray.train.get_context().get_world_rank()
            text = json.dumps(hashlib.sha256(data).hexdigest())
            (folder / f"rank-{rank}.json").write_text(text)

        real.train_epochs = spied
        try:
            real.train_worker(config)
        finally:
            real.train_epochs = train_epochs

    return worker

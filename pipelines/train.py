"""train: shards -> stream of fresh batches -> TorchTrainer -> checkpoints -> model package."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ray
import ray.train
import torch
from ray.actor import ActorHandle
from ray.exceptions import RayError
from ray.train import DataConfig, Result, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.train.v2.api.config import (
    CheckpointConfig,
    FailureConfig,
    LoggingConfig,
    RunConfig,
)

from clusters.resources import ResourcePlan
from components import errors
from components.errors import HeadraceError, TrackingError
from components.models.registry import AnyModelConfig, build_model
from components.records.epoch_plan import Position, Segment
from components.tasks.names import score_of
from components.tasks.task import Task
from components.tasks.view import View
from components.tracking.tracker import Tracker
from components.training.blend import build_mixing, check_mixing
from components.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from components.training.config import TrainConfig
from components.training.loop import Listener, LoopSettings, StepReport, train_epochs
from components.training.optimizers import build_optimizer
from components.training.parallel import channels_last, is_distributed
from components.training.schedules import build_schedule
from pipelines.folders import RunFolder
from pipelines.modality import build_task, training_view
from pipelines.recipe import Recipe
from pipelines.shards import PreparedData
from pipelines.streams.cache import open_cache
from pipelines.streams.channel import (
    Channel,
    Event,
    open_channel,
    refusal_of,
    stream_start,
)
from pipelines.streams.feed import (
    FeedPlan,
    FeedReader,
    feed_stream,
    shard_layout,
    task_rows,
    window_rows,
    worth_keeping,
)
from pipelines.streams.sampling import weigh
from pipelines.streams.tasks import explained

_POLL_S = 0.25
_ABORT_TIMEOUT_S = 4
# Of a checkpoint inside an epoch: below any score. Not -inf, which Ray does not find again in its
# JSON.
_UNJUDGED = -1e300
_RAY_NAME = "checkpoints"
# Errors of the code or the settings: another start would only meet them again. A lost peer, memory
# or a device shows as RuntimeError or a lost process, and is worth another start.
_REPEATED = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)


@dataclass(frozen=True)
class Trained:
    """What a training left behind.

    Attributes:
        checkpoint: Folder of the best checkpoint by the recipe's metric.
        kept_epoch: Epoch (from 0) after which that checkpoint was taken.
        history: One row of metrics per epoch.
        steps: Step reports, thinned, for curves.
    """

    checkpoint: Path
    kept_epoch: int
    history: list[dict[str, float]]
    steps: list[dict[str, float]]


@dataclass(frozen=True)
class WorkerPlan:
    """Everything that a training worker needs; travels to it as it is."""

    feed: FeedPlan
    task: Task
    model: AnyModelConfig
    train: TrainConfig
    seed: int
    threads: int
    channel: ActorHandle[Channel]


def feed_plan(recipe: Recipe, resources: ResourcePlan, view: View, data: PreparedData) -> FeedPlan:
    """The feed of a recipe over a prepared data set, in tasks that the machine can hold.

    Ray must be up where the recipe weighs records.
    """
    layouts = {
        split: shard_layout(
            data.folder,
            [(shard.path, shard.num_rows) for shard in data.manifest.shards_of(split)],
            data.manifest.row_group_rows,
        )
        for split in ("train", "val")
    }
    return FeedPlan(
        train=layouts["train"],
        val=layouts["val"],
        view=view,
        epochs=recipe.train.epochs,
        batch_size=recipe.train.batch_size,
        window_rows=window_rows(view, recipe.train.shuffle_window_rows, recipe.train.batch_size),
        keep_last=recipe.train.last_batch == "keep",
        task_rows=task_rows(
            view,
            layouts["train"].num_rows,
            data_cpus=resources.data_cpus,
            object_store_bytes=resources.object_store_bytes - resources.cache_bytes,
        ),
        rows_per_epoch=recipe.train.sampling.rows_per_epoch,
        weighed=weigh(recipe.train.sampling, data.manifest, layouts["train"]),
    )


def train(
    recipe: Recipe,
    resources: ResourcePlan,
    data: PreparedData,
    folder: RunFolder,
    tracker: Tracker,
    on_step: Callable[[StepReport], None],
) -> Trained:
    """Train on a prepared data set; Ray must be up.

    A checkpoint that lies in the run's folder is continued.

    Raises:
        HeadraceError: The training cannot go on, in words.
    """
    channel = open_channel()
    task = build_task(recipe, data.manifest, data.folder)
    check_mixing(recipe.train.mixing, task.shape)
    feed = feed_plan(recipe, resources, training_view(recipe, task), data)
    cache = None
    if resources.cache_bytes and feed.epochs > 1 and worth_keeping(feed.view, feed.train):
        cache = open_cache(resources.cache_bytes)
    listener = _Listener(channel, tracker, on_step)
    # The plan goes by reference: Ray's controller would import all of this to unpack it.
    trainer = _Trainer(
        train_worker,
        train_loop_config={"plan": [ray.put(_worker_plan(recipe, resources, task, feed, channel))]},
        datasets={"feed": feed_stream(feed, partial(stream_start, channel), cache)},
        dataset_config=DataConfig(datasets_to_split=["feed"], execution_options=_feed_options()),
        scaling_config=ScalingConfig(
            num_workers=resources.num_workers,
            use_gpu=resources.worker_gpus > 0,
            resources_per_worker=resources.worker_resources(),
        ),
        run_config=_run_config(recipe.train.max_failures, folder),
    )
    trainer.shares_cluster = resources.running_cluster
    with listener.listening():
        try:
            result = trainer.fit_or_abort()
        except RayError as error:
            raise explained(error, "training") from error
        except ray.train.TrainingFailedError as error:
            raise _training_error(error, channel) from error
    refusal = _refusal(channel)
    if refusal is not None:
        raise refusal
    trained = _trained(result, listener)
    for row in trained.history:
        # What was lost on the way: a driver that died before it heard of an epoch, say.
        _log_epoch(tracker, row)
    return trained


def _worker_plan(
    recipe: Recipe,
    resources: ResourcePlan,
    task: Task,
    feed: FeedPlan,
    channel: ActorHandle[Channel],
) -> WorkerPlan:
    return WorkerPlan(
        feed=feed,
        task=task,
        model=recipe.model,
        train=recipe.train,
        seed=recipe.seed,
        threads=resources.worker_threads,
        channel=channel,
    )


def _feed_options() -> ray.data.ExecutionOptions:
    return ray.data.ExecutionOptions(preserve_order=True)


def _run_config(max_failures: int, folder: RunFolder) -> Any:
    # Any: the trainer is annotated with the class of Train V1 and takes only that of V2.
    return RunConfig(
        name=_RAY_NAME,
        storage_path=str(folder.path.absolute()),
        failure_config=FailureConfig(max_failures=max_failures),
        checkpoint_config=CheckpointConfig(
            num_to_keep=1,
            checkpoint_score_attribute="score",
        ),
        logging_config=LoggingConfig(log_level="ERROR"),
    )


class _Trainer(TorchTrainer):
    """Ray Train's trainer, with Ctrl-C left to us: it would hide it behind exit code 1."""

    controller: Any = None
    shares_cluster = False

    def _register_sigint_handler(self, controller: Any) -> None:
        self.controller = controller

    def _create_default_callbacks(self) -> list[Any]:
        inherited: Any = super()  # annotated with the class of Train V1
        callbacks: list[Any] = inherited._create_default_callbacks()
        if self.shares_cluster:
            return callbacks
        # It frees the workers of a driver that died; a Ray of our own dies with us. It asks the
        # dashboard, which such a Ray has not, and holds up the end of a training by 7 to 12 s.
        return [c for c in callbacks if type(c).__name__ != "PlacementGroupCleanerCallback"]

    def fit_or_abort(self) -> Result:
        """Fit; where the driver is interrupted or ended, end the workers first."""
        try:
            return self.fit()
        except (KeyboardInterrupt, SystemExit):
            if self.controller is not None:
                with suppress(RayError):  # aborting ends the controller before it can answer
                    ray.get(self.controller.abort.remote(), timeout=_ABORT_TIMEOUT_S)
            raise


def _refusal(channel: ActorHandle[Channel]) -> HeadraceError | None:
    """The error with which a worker said that this training cannot go on."""
    said = refusal_of(channel)
    if said is None:
        return None
    kind, reason = said
    error: HeadraceError = getattr(errors, kind)(reason)
    return error


def _log_epoch(tracker: Tracker, row: dict[str, float]) -> None:
    told = {name: value for name, value in row.items() if name != "epoch"}
    tracker.log_metrics(told, step=int(row["epoch"]))


def _training_error(error: BaseException, channel: ActorHandle[Channel]) -> HeadraceError:
    refusal = _refusal(channel)
    if refusal is not None:
        return refusal
    failures = getattr(error, "worker_failures", {})
    for failure in failures.values():
        found = explained(failure, "training")
        if type(found) is not HeadraceError:
            return found
    lines = [line for line in str(next(iter(failures.values()), error)).splitlines() if line]
    return HeadraceError(
        f"training failed in a worker: {lines[-1] if lines else error}; the whole story is in the "
        "run's logs"
    )


def _trained(result: Result, listener: "_Listener") -> Trained:
    if not result.best_checkpoints or result.checkpoint is None:
        raise HeadraceError("training ended without a checkpoint; see the run's logs")
    # Ray keeps the best and, if another, the last.
    best, metrics = max(result.best_checkpoints, key=lambda kept: float(kept[1]["score"]))
    latest = load_checkpoint(Path(result.checkpoint.path))
    return Trained(Path(best.path), int(metrics["epoch"]), latest.history, listener.steps)


class _Listener:
    """Reads the channel in the driver: logs to the tracker, tells the progress."""

    def __init__(
        self, channel: ActorHandle[Channel], tracker: Tracker, on_step: Callable[[StepReport], None]
    ) -> None:
        self._channel, self._tracker, self._on_step = channel, tracker, on_step
        self._done = threading.Event()
        self.steps: list[dict[str, float]] = []

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Read in the background while the block runs, and what is left at its end."""
        thread = threading.Thread(target=self._listen, name="channel", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._done.set()
            thread.join(timeout=30)

    def _listen(self) -> None:
        while not self._done.wait(_POLL_S):
            self._read()
        self._read()

    def _read(self) -> None:
        try:
            events: list[Event] = ray.get(self._channel.take.remote(), timeout=10)
        except RayError:
            # The cluster is going down; what was said is also in the checkpoint's history.
            return
        for event in events:
            if event["kind"] == "step":
                self._hear_step(StepReport(**event["report"]))
            else:
                _log_epoch(self._tracker, event["row"])
                with suppress(TrackingError):  # the tracker keeps what it could not send yet
                    self._tracker.flush()

    def _hear_step(self, report: StepReport) -> None:
        self._on_step(report)
        values = {
            "loss": report.loss,
            "learning_rate": report.learning_rate,
            "grad_norm": report.grad_norm,
            "records_per_s": report.records_per_s,
            "data_wait_share": report.data_wait_share,
        }
        self.steps.append({"global_step": float(report.global_step)} | values)
        self._tracker.log_metrics(
            {f"step/{name}": value for name, value in values.items()}, step=report.global_step
        )


def train_worker(config: dict[str, Any]) -> None:
    """Run on every worker: build or restore, train, report."""
    plan: WorkerPlan = ray.get(config["plan"][0])
    if refusal_of(plan.channel) is not None:
        return
    try:
        _train_worker(plan)
    except HeadraceError as error:
        ray.get(plan.channel.refuse.remote(type(error).__name__, str(error)))
        raise
    except _REPEATED as error:
        words = (str(error) or "no message").splitlines()[0]
        reason = f"training failed: {type(error).__name__}: {words}; see the run's logs"
        ray.get(plan.channel.refuse.remote("HeadraceError", reason))
        raise


def _train_worker(plan: WorkerPlan) -> None:
    context = ray.train.get_context()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    device = ray.train.torch.get_device()
    if device.type == "cpu":
        torch.set_num_threads(plan.threads)
    checkpoint = _last_checkpoint()
    position = checkpoint.position if checkpoint else Position()
    reader = FeedReader(
        ray.train.get_dataset_shard("feed"),
        plan.feed,
        rank=rank,
        world_size=world_size,
        announce=partial(_announce, plan.channel, rank, world_size),
    )
    if position.epoch < plan.feed.epochs:
        reader.start(Segment(position.epoch, True, position.step))
    task = plan.task
    model = build_model(plan.model, task.shape, num_outputs=task.num_outputs, seed=plan.seed).to(
        device
    )
    channels_last(model)
    optimizer = build_optimizer(plan.train.optimizer, model)
    if checkpoint:
        checkpoint.restore(model, optimizer)
    settings = LoopSettings(
        epochs=plan.feed.epochs,
        steps_per_epoch=plan.feed.batches(world_size, training=True).num_steps,
        seed=plan.seed,
        rank=rank,
        world_size=world_size,
        device=device,
        max_grad_norm=plan.train.max_grad_norm,
        checkpoint_every_steps=plan.train.checkpoint_every_steps,
    )
    schedule = build_schedule(
        plan.train.schedule,
        peak_learning_rate=plan.train.optimizer.learning_rate,
        total_steps=settings.epochs * settings.steps_per_epoch,
        steps_per_epoch=settings.steps_per_epoch,
    )
    wrapped = ray.train.torch.prepare_model(model, move_to_device=False)
    report = _EpochReport(plan, rank, wrapped, optimizer, checkpoint.history if checkpoint else [])
    train_epochs(
        wrapped,
        optimizer,
        schedule,
        reader,
        task,
        settings,
        report,
        start=position,
        learned=checkpoint.learned if checkpoint else (),
        mix=build_mixing(plan.train.mixing, task.shape, seed=plan.seed, rank=rank),
    )


def _last_checkpoint() -> Checkpoint | None:
    kept = ray.train.get_checkpoint()
    if kept is None:
        return None
    with kept.as_directory() as path:
        return load_checkpoint(Path(path))


def _announce(channel: ActorHandle[Channel], rank: int, world_size: int, segment: Segment) -> None:
    if rank == 0:
        ray.get(channel.start_at.remote(segment, world_size))
    if is_distributed():
        # No rank may open the stream before it has been told where to start.
        torch.distributed.barrier()


class _EpochReport(Listener):
    """Reports of one worker: every rank to Ray Train, rank 0 with the checkpoint and the events."""

    def __init__(
        self,
        plan: WorkerPlan,
        rank: int,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        history: list[dict[str, float]],
    ) -> None:
        self._plan, self._rank = plan, rank
        self._model, self._optimizer = model, optimizer
        self._history = history

    def step(self, report: StepReport) -> None:
        if self._rank == 0:
            self._plan.channel.send.remote({"kind": "step", "report": asdict(report)})

    def epoch(self, row: dict[str, float], position: Position) -> None:
        self._history.append(row)
        monitor = self._plan.train.monitor
        score = score_of(monitor, row[f"val_{monitor}"])
        metrics = row | {"score": score}
        self._report(metrics, position)
        if self._rank == 0:
            # A restart may repeat an epoch whose checkpoint came too late; the tracker skips it.
            ray.get(self._plan.channel.send.remote({"kind": "epoch", "row": row}))

    def checkpoint(self, position: Position, learned: tuple[float, ...]) -> None:
        """Inside an epoch; never the best, as nothing was evaluated."""
        self._report({"epoch": float(position.epoch), "score": _UNJUDGED}, position, learned)

    def _report(
        self, metrics: dict[str, float], position: Position, learned: tuple[float, ...] = ()
    ) -> None:
        if self._rank != 0:
            ray.train.report(metrics)
            return
        with TemporaryDirectory(prefix="headrace-") as folder:
            save_checkpoint(
                Path(folder),
                model=self._model,
                optimizer=self._optimizer,
                position=position,
                history=self._history,
                learned=learned,
            )
            ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))

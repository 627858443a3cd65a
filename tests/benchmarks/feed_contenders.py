"""Six ways to feed pictures to a training, each written as its users write it.

A contender opens its source for some epochs and gives a function: epoch number -> batches, as
torch tensors in the process that would train: uint8 RGB (B, H, W, 3) and labels (B,). Every epoch
has every row once. Each has two processes or threads that decode and augment.
"""

import functools
import gc
import itertools
import multiprocessing
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from components.images.augment import AugmentConfig
from components.images.device import shared_tensor
from components.images.policies import TransformConfig
from components.records.epoch_plan import Segment
from components.records.row_order import ShardLayout
from components.tasks.image_view import ImageView
from tests.benchmarks.feed_data import Workload, read_shards

if TYPE_CHECKING:
    from clusters.resources import ResourcePlan

Batch = tuple[torch.Tensor, torch.Tensor]
Epochs = Callable[[int], Iterator[Batch]]
Contender = Callable[[Workload, int], AbstractContextManager[Epochs]]

# Of pictures, made at a time by `bare`: as in a block of the feed.
_CHUNK_BYTES = 8 << 20


@functools.cache
def _compose(work: str, image_px: int) -> Any:
    """The pipeline of albumentations, built once in each process."""
    import albumentations

    specs = AugmentConfig.model_validate_json(work).resolved()
    sizes = {"RandomResizedCrop": {"size": (image_px, image_px)}}
    return albumentations.Compose(
        [getattr(albumentations, s.name)(**s.arguments, **sizes.get(s.name, {})) for s in specs]
    )


def _augment_json(work: Workload) -> str:
    specs = [TransformConfig.model_validate(item) for item in work.transforms]
    return AugmentConfig(transforms=specs).model_dump_json()


class _Pictures(torch.utils.data.Dataset[tuple[np.ndarray, int]]):
    """A map-style data set: decode, augment."""

    def __init__(self, work: Workload) -> None:
        self._augment, self._image_px = _augment_json(work), work.image_px

    def _augmented(self, image_HWC: Any) -> Any:
        return _compose(self._augment, self._image_px)(image=image_HWC)["image"]


class _Files(_Pictures):
    def __init__(self, work: Workload) -> None:
        super().__init__(work)
        classes = sorted(path.name for path in work.files.iterdir())
        self._items = [
            (str(path), label)
            for label, name in enumerate(classes)
            for path in sorted((work.files / name).iterdir())
        ]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, number: int) -> tuple[np.ndarray, int]:
        path, label = self._items[number]
        image_HWC: Any = cv2.imread(path)
        image_HWC = cv2.cvtColor(image_HWC, cv2.COLOR_BGR2RGB)
        return self._augmented(image_HWC), label


class _Shards(_Pictures):
    """Our shards, which each worker reads once and then holds in memory."""

    def __init__(self, work: Workload) -> None:
        super().__init__(work)
        self._layout = work.layout
        self._rows: tuple[pa.Array, np.ndarray] | None = None

    def __len__(self) -> int:
        return self._layout.num_rows

    def __getitem__(self, number: int) -> tuple[np.ndarray, int]:
        self._rows = self._rows or read_shards(self._layout)
        stored, labels = self._rows
        encoded = np.frombuffer(stored[number].as_buffer(), np.uint8)
        image_HWC = cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB)
        return self._augmented(image_HWC), int(labels[number])


def _dataloader(work: Workload, pictures: _Pictures) -> Epochs:
    loader = torch.utils.data.DataLoader(
        pictures,
        batch_size=work.batch_size,
        shuffle=True,
        num_workers=2,
        prefetch_factor=2,
        persistent_workers=True,
    )
    return lambda epoch: iter(loader)


@contextmanager
def dataloader_files(work: Workload, epochs: int) -> Iterator[Epochs]:
    """torch's DataLoader over the files as they are."""
    yield _dataloader(work, _Files(work))


@contextmanager
def dataloader_shards(work: Workload, epochs: int) -> Iterator[Epochs]:
    """torch's DataLoader over our shards."""
    yield _dataloader(work, _Shards(work))


@contextmanager
def _ray_session(work: Workload) -> Iterator["ResourcePlan"]:
    from clusters.resources import ClusterConfig, plan_resources
    from clusters.session import capacity_of, ray_session

    config = ClusterConfig(cpus=2, device="cpu", object_store_bytes=work.store_bytes)
    plan = plan_resources(config, capacity_of(config))
    with tempfile.TemporaryDirectory() as logs, ray_session(plan, Path(logs)):
        yield plan


def _decode_and_augment(
    rows: dict[str, np.ndarray], augment: str, image_px: int
) -> dict[str, np.ndarray]:
    compose = _compose(augment, image_px)
    images = [
        compose(image=cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB))["image"]
        for data in rows["image"]
    ]
    return {"image": np.stack(images), "label": rows["label"].astype(np.int64)}


@contextmanager
def ray_stock(work: Workload, epochs: int) -> Iterator[Epochs]:
    """Ray Data as its guide writes it, over our shards; files shuffled, rows not."""
    with _ray_session(work):
        import ray

        rows = ray.data.read_parquet(
            list(work.layout.paths), columns=["image", "label"], shuffle="files"
        )
        pictures = rows.map_batches(
            _decode_and_augment,
            batch_size=work.batch_size,
            fn_kwargs={"augment": _augment_json(work), "image_px": work.image_px},
        )

        def epoch_of(epoch: int) -> Iterator[Batch]:
            for batch in pictures.iter_torch_batches(
                batch_size=work.batch_size, prefetch_batches=2
            ):
                yield batch["image"], batch["label"]

        yield epoch_of


def _view(work: Workload) -> ImageView:
    specs = [TransformConfig.model_validate(item) for item in work.transforms]
    return ImageView.of(work.image_px, "crop", AugmentConfig(transforms=specs), seed=0)


def _viewed(part: tuple[int, str, list[int]], view: ImageView) -> np.ndarray:
    """The labels of some row groups, whose pictures were made and dropped."""
    epoch, path, groups = part
    file = pq.ParquetFile(path, memory_map=True)
    rows = file.read_row_groups(groups, columns=["record_id", *view.columns])
    view.arrays(rows, epoch)
    return view.targets(rows)


@contextmanager
def bare(work: Workload, epochs: int) -> Iterator[Epochs]:
    """The limit: two plain processes that make our pictures and deliver nothing but labels."""
    view, layout = _view(work), work.layout
    groups = max(1, _CHUNK_BYTES // view.row_bytes // layout.row_group_rows)
    parts = [
        (path, list(range(first, min(first + groups, -(-rows // layout.row_group_rows)))))
        for path, rows in zip(layout.paths, layout.rows, strict=True)
        for first in range(0, -(-rows // layout.row_group_rows), groups)
    ]
    planned = [(epoch, *part) for epoch in range(epochs) for part in parts]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        done = pool.imap(functools.partial(_viewed, view=view), planned)

        def epoch_of(epoch: int) -> Iterator[Batch]:
            for labels in itertools.islice(done, len(parts)):
                yield torch.empty(len(labels), 0), torch.from_numpy(labels)

        yield epoch_of


@contextmanager
def _feed(work: Workload, epochs: int, *, may_keep: bool) -> Iterator[Epochs]:
    with _ray_session(work) as resources:
        import ray

        from pipelines.streams import feed
        from pipelines.streams.cache import open_cache
        from pipelines.streams.channel import open_channel, stream_start

        channel, view = open_channel(), _view(work)
        plan = feed.FeedPlan(
            train=work.layout,
            val=ShardLayout((), (), work.layout.row_group_rows),
            view=view,
            epochs=epochs,
            batch_size=work.batch_size,
            window_rows=feed.window_rows(view, None, work.batch_size),
            keep_last=True,
            task_rows=feed.task_rows(
                view,
                work.layout.num_rows,
                data_cpus=int(resources.cluster_cpus),
                object_store_bytes=resources.object_store_bytes - resources.cache_bytes,
            ),
        )
        keeps = may_keep and feed.worth_keeping(view, work.layout)
        cache = open_cache(resources.cache_bytes) if keeps else None
        stream = feed.feed_stream(plan, functools.partial(stream_start, channel), cache)
        (shard,) = stream.streaming_split(1, equal=True)

        def announce(segment: Segment) -> None:
            ray.get(channel.start_at.remote(segment, 1))

        readers = [feed.FeedReader(shard, plan, rank=0, world_size=1, announce=announce)]
        readers[0].start(Segment(0, True))

        def epoch_of(epoch: int) -> Iterator[Batch]:
            for batch in readers[0].segment(Segment(epoch, True)):
                count = int(batch.weights_B.sum())  # without what fills up the last batch
                images_BHWC = shared_tensor(batch.inputs["image"])
                yield images_BHWC[:count], torch.from_numpy(np.array(batch.targets_B))[:count]

        yield epoch_of
        # The stream must be closed before Ray is.
        readers.clear()
        gc.collect()


def ours(work: Workload, epochs: int) -> AbstractContextManager[Epochs]:
    """The feed of this repository, read as a training worker reads it; keeps what fits decoded."""
    return _feed(work, epochs, may_keep=True)


def ours_streamed(work: Workload, epochs: int) -> AbstractContextManager[Epochs]:
    """The same without its memory cache: of data that do not fit."""
    return _feed(work, epochs, may_keep=False)


class _Decoded(torch.utils.data.Dataset[tuple[np.ndarray, int]]):
    """The pictures of the shards, for FFCV's writer."""

    def __init__(self, layout: ShardLayout) -> None:
        self._stored, self._labels = read_shards(layout)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, number: int) -> tuple[np.ndarray, int]:
        encoded = np.frombuffer(self._stored[number].as_buffer(), np.uint8)
        image_HWC: Any = cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB)
        return image_HWC, int(self._labels[number])


def write_ffcv(work: Workload) -> None:
    """Write FFCV's file: JPEG of the size that the shards have."""
    from ffcv.fields import IntField, RGBImageField
    from ffcv.writer import DatasetWriter

    fields = {"image": RGBImageField(write_mode="jpg", jpeg_quality=90), "label": IntField()}
    writer = DatasetWriter(str(work.ffcv_file), fields, num_workers=2)
    writer.from_indexed_dataset(_Decoded(work.layout))


@contextmanager
def ffcv(work: Workload, epochs: int) -> Iterator[Epochs]:
    """FFCV 1.0.2: crop and flip compiled, in two threads."""
    from ffcv.fields.decoders import IntDecoder, RandomResizedCropRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import RandomHorizontalFlip, Squeeze, ToTensor

    crop = RandomResizedCropRGBImageDecoder((work.image_px, work.image_px), scale=(0.35, 1.0))
    loader = Loader(
        str(work.ffcv_file),
        batch_size=work.batch_size,
        num_workers=2,
        order=OrderOption.RANDOM,
        os_cache=True,
        drop_last=False,
        pipelines={
            "image": [crop, RandomHorizontalFlip(), ToTensor()],
            "label": [IntDecoder(), ToTensor(), Squeeze()],
        },
    )
    yield lambda epoch: iter(loader)


CONTENDERS: dict[str, Contender] = {
    function.__name__: function
    for function in (
        dataloader_files,
        dataloader_shards,
        ray_stock,
        bare,
        ours,
        ours_streamed,
        ffcv,
    )
}

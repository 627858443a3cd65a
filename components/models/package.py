"""The model package: one folder with all that prediction needs, and one way to predict with it."""

import hashlib
import itertools
import json
import math
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from components.errors import DataError, RecipeError, StorageError
from components.models.compressed import (
    CompressionSpec,
    check_layers_fit,
    fill_from_stored,
    rebuild,
    to_stored,
)
from components.models.registry import AnyModelConfig, ModelConfig, build_model, config_of
from components.tasks.registry import task_from_files
from components.tasks.task import Task
from components.training.batch import Arrays
from components.training.parallel import unwrap

FORMAT_VERSION = 2
INDEX = "package.json"
WEIGHTS = "model.safetensors"
COMPRESSION = "compression.json"
_TASK_FILES = ("transform", "schema", "classes")
_CONTENT = (
    WEIGHTS,
    "model.json",
    COMPRESSION,
    *(f"{name}.json" for name in _TASK_FILES),
    "recipe.yaml",
    "metrics.json",
)
_MODEL_CONFIG: TypeAdapter[AnyModelConfig] = TypeAdapter(ModelConfig)


@dataclass(frozen=True, eq=False)
class ModelPackage:
    """A trained model with the only preprocessing that it may be used with."""

    model: nn.Module
    """Gives one row of outputs per record; not wrapped in DDP once loaded."""
    model_config: AnyModelConfig
    """What `build_model` builds it from."""
    task: Task
    """How records become inputs, with the fitted transform, and what the outputs mean."""
    recipe_yaml: str
    """The resolved recipe that the model was trained with."""
    metrics: Mapping[str, Mapping[str, float]]
    """By split: `{"val": {"accuracy": 0.98}}`."""
    dataset_fingerprint: str
    """Of the prepared data set that the model was trained on."""
    git_commit: str = ""
    """Of the code; empty outside a repository."""
    versions: Mapping[str, str] | None = None
    """Of Python and the libraries."""
    compression: CompressionSpec = field(default_factory=CompressionSpec)
    """What became of `model` since `build_model`, and how its weights are stored."""

    @property
    def classes(self) -> Sequence[str]:
        """Class names in the order of the probabilities; empty where values are predicted."""
        return self.task.classes

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        # A model of integers has buffers alone.
        return next(itertools.chain(self.model.parameters(), self.model.buffers())).device

    def predict(self, records: Any, *, batch_size: int = 256) -> NDArray[Any]:
        """Return class probabilities (B, K), rows of which sum to 1, or values (B,).

        Args:
            records: Pictures as uint8 RGB (B, H, W, 3) in the model's size, or a table (polars,
                pandas or a mapping of columns) with the columns that the model was trained on.
            batch_size: Records that pass through the model at once; bounds the memory.

        Raises:
            ValueError: The records are not of that form.
        """
        return self.predict_arrays(self.task.arrays_of(records), batch_size=batch_size)

    @torch.inference_mode()
    def predict_arrays(self, arrays: Arrays, *, batch_size: int = 256) -> NDArray[Any]:
        """As `predict`, of records that are inputs already: as `task.view()` makes them."""
        model, device = unwrap(self.model).eval(), self.device
        num_rows = len(next(iter(arrays.values())))
        parts = []
        # A table of no records passes once, so that the result has its shape.
        for start in range(0, max(num_rows, 1), batch_size):
            part = {name: values[start : start + batch_size] for name, values in arrays.items()}
            parts.append(self.task.predictions(model(*self.task.to_inputs(part, device))))
        return np.concatenate(parts)


def save_package(folder: Path, package: ModelPackage) -> Path:
    """Write `package` to `folder`, which appears whole or not at all; an older one is replaced.

    The same package gives the same bytes. Nothing is pickled. What a compressed model is worth is
    what `load_package` then gives: measure that.

    Raises:
        DataError: A weight has no such storage form as `package.compression` asks for.
        StorageError: The disk is full or the folder cannot be written.
    """
    folder = Path(folder)
    partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.partial")
    try:
        partial.mkdir(parents=True)
        _write_content(partial, package)
        _replace_folder(partial, folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise StorageError(
            f"model package {folder} could not be written: {error}; free space or change `output`"
        ) from error
    except DataError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise DataError(f"model package {folder} could not be written: {error}") from error
    return folder


def package_sha256(folder: Path) -> str:
    """Return the digest of a package's index, which names the digests of all its other files.

    Raises:
        DataError: There is no package.
    """
    if not (Path(folder) / INDEX).is_file():
        raise _no_package(folder)
    return _sha256(Path(folder) / INDEX)


def load_package(folder: Path, *, device: torch.device | str = "cpu") -> ModelPackage:
    """Read a package, checking every file against its SHA-256; the model is in eval mode.

    Raises:
        DataError: A file is missing, changed, damaged, or of another format.
    """
    folder = Path(folder)
    index = _verified_index(folder)
    try:
        config = _MODEL_CONFIG.validate_python(_read_json(folder / "model.json"))
        files = {name: _read_json(folder / f"{name}.json") for name in _TASK_FILES}
        task = task_from_files(index["task"], files)
        model = build_model(config, task.shape, num_outputs=task.num_outputs, seed=0)
        compression = _read_compression(folder)
        rebuild(model, compression)
        fill_from_stored(model, compression, load_file(folder / WEIGHTS))
        if compression.structure:
            check_layers_fit(model, task.shape)
    except DataError as error:
        raise DataError(f"model package {folder}: {error}") from error
    except (
        RecipeError,
        SafetensorError,
        RuntimeError,
        LookupError,
        TypeError,
        ValueError,
    ) as error:
        raise DataError(
            f"model package {folder} does not fit this version of Headrace "
            f"({' '.join(str(error).split())[:200]}); use the version that wrote it"
        ) from error
    return ModelPackage(
        model=model.to(device).eval(),
        model_config=config,
        task=task,
        recipe_yaml=(folder / "recipe.yaml").read_text(encoding="utf-8"),
        metrics=_finite_or_nan(_read_json(folder / "metrics.json")),
        dataset_fingerprint=index["dataset_fingerprint"],
        git_commit=index["git_commit"],
        versions=index["versions"],
        compression=compression,
    )


def _write_content(folder: Path, package: ModelPackage) -> None:
    model = unwrap(package.model)
    config = config_of(model, package.model_config)
    save_file(to_stored(model, package.compression), folder / WEIGHTS)
    _write_json(folder / "model.json", config.model_dump(mode="json"))
    _write_json(folder / COMPRESSION, package.compression.model_dump(mode="json"))
    for name, value in package.task.files().items():
        _write_json(folder / f"{name}.json", value)
    (folder / "recipe.yaml").write_text(package.recipe_yaml, encoding="utf-8")
    _write_json(folder / "metrics.json", _null_if_not_finite(package.metrics))
    index = {
        "format_version": FORMAT_VERSION,
        "task": package.task.name,
        "dataset_fingerprint": package.dataset_fingerprint,
        "transform_hash": package.task.transform_hash,
        "git_commit": package.git_commit,
        "versions": dict(package.versions or {}),
        "sha256": {name: _sha256(folder / name) for name in _CONTENT},
    }
    _write_json(folder / INDEX, index)


def _read_compression(folder: Path) -> CompressionSpec:
    try:
        return CompressionSpec.model_validate(_read_json(folder / COMPRESSION))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(
            f"{COMPRESSION}: {where}: {first['msg']}; use the version that wrote it"
        ) from error


def _replace_folder(new: Path, target: Path) -> None:
    for path in new.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    # A folder with content cannot be renamed over; the old one steps aside and is then removed.
    old = new.with_suffix(".old")
    if target.exists():
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _verified_index(folder: Path) -> dict[str, Any]:
    if not (folder / INDEX).is_file():
        raise _no_package(folder)
    try:
        index: dict[str, Any] = _read_json(folder / INDEX)
        version, digests = index["format_version"], index["sha256"]
    except (ValueError, LookupError, TypeError) as error:
        raise DataError(f"model package {folder}: {INDEX} is damaged; train it anew") from error
    if version != FORMAT_VERSION:
        raise DataError(
            f"model package {folder} has format {version}, this version reads {FORMAT_VERSION}; "
            "use the version that wrote it"
        )
    for name in _CONTENT:
        path = folder / name
        if not path.is_file():
            raise DataError(f"model package {folder}: {name} is missing; copy the whole folder")
        if _sha256(path) != digests.get(name):
            raise DataError(
                f"model package {folder}: {name} was changed after it was written (SHA-256 "
                "differs); copy the folder again or train it anew"
            )
    return index


def _no_package(folder: Path) -> DataError:
    return DataError(
        f"no model package at {folder} ({INDEX} is missing); give the folder that train wrote"
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_json(path: Path, value: object) -> None:
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _null_if_not_finite(
    metrics: Mapping[str, Mapping[str, float]],
) -> dict[str, dict[str, float | None]]:
    # JSON has no NaN; a diverged training must still be packed and told.
    return {
        split: {name: value if math.isfinite(value) else None for name, value in row.items()}
        for split, row in metrics.items()
    }


def _finite_or_nan(
    metrics: Mapping[str, Mapping[str, float | None]],
) -> dict[str, dict[str, float]]:
    return {
        split: {name: math.nan if value is None else value for name, value in row.items()}
        for split, row in metrics.items()
    }

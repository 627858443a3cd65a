"""The model package: one folder with all that prediction needs, and one way to predict with it."""

import hashlib
import json
import math
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load_model, save_file
from torch import nn

from components.errors import DataError, RecipeError, StorageError
from components.images.device import to_model_input
from components.images.fit import FittedTransform
from components.images.geometry import InputConfig
from components.models.registry import (
    ConvNetConfig,
    ModelConfig,
    ResNetConfig,
    TransformersConfig,
    build_model,
    config_of,
)
from components.training.parallel import unwrap

FORMAT_VERSION = 1
INDEX = "package.json"
WEIGHTS = "model.safetensors"
_CONTENT = (
    WEIGHTS,
    "model.json",
    "transform.json",
    "schema.json",
    "classes.json",
    "recipe.yaml",
    "metrics.json",
)
_MODEL_CONFIG: TypeAdapter[ConvNetConfig | ResNetConfig | TransformersConfig] = TypeAdapter(
    ModelConfig
)


@dataclass(frozen=True, eq=False)
class ModelPackage:
    """A trained model with the only preprocessing that it may be used with."""

    model: nn.Module
    """Gives logits (B, K); not wrapped in DDP once loaded."""
    model_config: ConvNetConfig | ResNetConfig | TransformersConfig
    """What `build_model` builds it from."""
    input_config: InputConfig
    """Size of the input picture and how a picture is brought to it."""
    transform: FittedTransform
    """Channel mean and standard deviation of the train split, in units of 1 (not 255)."""
    classes: Sequence[str]
    """Class names in the order of the logits."""
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

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.model.parameters()).device

    @torch.inference_mode()
    def logits(self, images_BHWC: torch.Tensor) -> torch.Tensor:
        """Return logits (B, K), float32, of canonical pictures; the model goes to eval mode.

        Args:
            images_BHWC: uint8 RGB, of `input_config.image_px` height and width, any device;
                mean and std are applied here.

        Raises:
            ValueError: Another dtype or shape.
        """
        side = self.input_config.image_px
        if images_BHWC.dtype != torch.uint8 or images_BHWC.shape[1:] != (side, side, 3):
            raise ValueError(
                f"images are {images_BHWC.dtype} {tuple(images_BHWC.shape)}, expected torch.uint8 "
                f"(B, {side}, {side}, 3); bring them there with to_input"
            )
        images_BCHW = to_model_input(
            images_BHWC, self.transform.mean, self.transform.std, device=self.device
        )
        logits_BK: torch.Tensor = unwrap(self.model).eval()(images_BCHW)
        return logits_BK.float()

    def predict(
        self, images_BHWC: NDArray[np.uint8], *, batch_size: int = 256
    ) -> NDArray[np.float32]:
        """Return class probabilities (B, K) of raw canonical pictures; rows sum to 1.

        Args:
            images_BHWC: uint8 RGB, of `input_config.image_px` height and width.
            batch_size: Pictures that pass through the model at once; bounds the memory.

        Raises:
            ValueError: Another dtype or shape.
        """
        # A copy per batch, because torch refuses to wrap read-only arrays (from Arrow) quietly.
        parts = [
            self.logits(torch.from_numpy(np.array(images_BHWC[start : start + batch_size])))
            .softmax(dim=1)
            .cpu()
            .numpy()
            for start in range(0, len(images_BHWC), batch_size)
        ]
        none = np.zeros((0, len(self.classes)), dtype=np.float32)
        return np.concatenate([none, *parts])


def save_package(folder: Path, package: ModelPackage) -> Path:
    """Write `package` to `folder`, which appears whole or not at all; an older one is replaced.

    The same package gives the same bytes. Nothing is pickled.

    Raises:
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
    return folder


def load_package(folder: Path, *, device: torch.device | str = "cpu") -> ModelPackage:
    """Read a package, checking every file against its SHA-256; the model is in eval mode.

    Raises:
        DataError: A file is missing, changed, or of another format.
    """
    folder = Path(folder)
    index = _verified_index(folder)
    try:
        config = _MODEL_CONFIG.validate_python(_read_json(folder / "model.json"))
        classes = [str(name) for name in _read_json(folder / "classes.json")]
        schema = _read_json(folder / "schema.json")
        input_config = InputConfig.model_validate(schema["input"])
        transform = FittedTransform.model_validate(_read_json(folder / "transform.json"))
        model = build_model(
            config, num_classes=len(classes), image_px=input_config.image_px, seed=0
        )
        load_model(model, folder / WEIGHTS)
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
        input_config=input_config,
        transform=transform,
        classes=classes,
        recipe_yaml=(folder / "recipe.yaml").read_text(encoding="utf-8"),
        metrics=_finite_or_nan(_read_json(folder / "metrics.json")),
        dataset_fingerprint=index["dataset_fingerprint"],
        git_commit=index["git_commit"],
        versions=index["versions"],
    )


def _write_content(folder: Path, package: ModelPackage) -> None:
    model = unwrap(package.model)
    config = config_of(model, package.model_config)
    save_file(_distinct_tensors(model), folder / WEIGHTS)
    _write_json(folder / "model.json", config.model_dump(mode="json"))
    _write_json(folder / "transform.json", package.transform.model_dump(mode="json"))
    _write_json(folder / "schema.json", _schema(package))
    _write_json(folder / "classes.json", list(package.classes))
    (folder / "recipe.yaml").write_text(package.recipe_yaml, encoding="utf-8")
    _write_json(folder / "metrics.json", _null_if_not_finite(package.metrics))
    index = {
        "format_version": FORMAT_VERSION,
        "task": "image_classification",
        "dataset_fingerprint": package.dataset_fingerprint,
        "transform_hash": package.transform.hash,
        "git_commit": package.git_commit,
        "versions": dict(package.versions or {}),
        "sha256": {name: _sha256(folder / name) for name in _CONTENT},
    }
    _write_json(folder / INDEX, index)


def _distinct_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    # safetensors refuses tensors that share memory, and its save_model writes the shared names in
    # random order, so that equal packages would differ in bytes; load_model finds them by itself.
    distinct: dict[str, torch.Tensor] = {}
    seen: set[tuple[object, ...]] = set()
    for name, tensor in sorted(model.state_dict().items()):
        where = (tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride())
        if tensor.numel() == 0 or where not in seen:
            distinct[name] = tensor.detach().cpu().contiguous().clone()
            seen.add(where)
    return distinct


def _schema(package: ModelPackage) -> dict[str, Any]:
    side = package.input_config.image_px
    return {
        "input": package.input_config.model_dump(mode="json"),
        "columns": {
            "image": {
                "dtype": "uint8",
                "shape": [side, side, 3],
                "layout": "HWC",
                "color": "RGB",
                "range": [0, 255],
            }
        },
        "output": {
            "probabilities": {"dtype": "float32", "shape": [len(package.classes)], "sum": 1}
        },
    }


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
        raise DataError(
            f"no model package at {folder} ({INDEX} is missing); give the folder that train wrote"
        )
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

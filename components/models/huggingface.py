"""Image classifiers of Hugging Face transformers; the only file that imports it."""

import difflib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel
from transformers import __version__ as transformers_version
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES
from transformers.utils import logging as transformers_logging

from components.errors import RecipeError

logger = logging.getLogger(__name__)

# Its weight-loading bars and reports would break the progress display and --json; what matters of
# them is checked and said here.
_silence: Sequence[Callable[[], None]] = (
    transformers_logging.set_verbosity_error,
    transformers_logging.disable_progress_bar,
)
for _quieten in _silence:
    _quieten()

_SET_BY_THE_DATA = {"num_labels", "id2label", "label2id"}
_ABOUT_THE_FILE = {
    "_name_or_path",
    "architectures",
    "dtype",
    "model_type",
    "torch_dtype",
    "transformers_version",
}
# What a foreign constructor or forward may raise when settings and picture size do not fit.
_BUILD_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    RuntimeError,
    SafetensorError,
    StrictDataclassError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True)
class Architecture:
    """A model class of transformers that was tried out on the recipe's picture size."""

    class_name: str
    """As `ViTForImageClassification`."""
    config: PretrainedConfig
    """Complete, with the number of labels and the picture size set."""
    num_parameters: int
    """Of the whole model."""
    unreached: tuple[str, ...]
    """Parameters without influence on the logits, as DINOv2's mask token."""


class HuggingFaceClassifier(nn.Module):
    """Gives the logits of a transformers model as a plain tensor."""

    def __init__(self, network: PreTrainedModel) -> None:
        """Wrap `network`, whose output must have `.logits` (B, K)."""
        super().__init__()
        self.network = network

    def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        """Return logits (B, K) of normalized float32 images."""
        logits_BK: torch.Tensor = self.network(pixel_values=images_BCHW).logits
        return logits_BK


def architecture_names() -> list[str]:
    """Return the class names of all image classifiers of the installed transformers."""
    return sorted(name for names in _classes_by_type().values() for name in names)


def resolve_architecture(
    *,
    architecture: str | None,
    checkpoint: str | None,
    overrides: Mapping[str, Any],
    num_classes: int,
    image_px: int,
) -> Architecture:
    """Turn settings into the class and complete config of the model, and try them out.

    The try-out builds the model without memory (torch's meta device) and passes one batch through
    it, there and back.

    Raises:
        RecipeError: The name, a setting, the folder, or the picture size does not fit.
    """
    if checkpoint is not None:
        class_name, config = _from_folder(Path(checkpoint), overrides)
    else:
        class_name, config = _from_name(architecture or "", overrides, image_px)
    config.num_labels = num_classes
    num_parameters, unreached = _try_out(
        class_name, config, num_classes=num_classes, image_px=image_px
    )
    return Architecture(class_name, config, num_parameters, unreached)


def build_classifier(
    *,
    architecture: str | None,
    checkpoint: str | None,
    overrides: Mapping[str, Any],
    num_classes: int,
    image_px: int,
) -> HuggingFaceClassifier:
    """Build the model on the CPU in float32 and training mode.

    Fresh weights come from torch's CPU generator. Checkpoints are read from safetensors only,
    without running code from the folder and without the network; every weight but those of the
    head must fit. Parameters that cannot influence the logits are frozen.

    Raises:
        RecipeError: As `resolve_architecture`, or the weights do not fit the architecture.
    """
    resolved = resolve_architecture(
        architecture=architecture,
        checkpoint=checkpoint,
        overrides=overrides,
        num_classes=num_classes,
        image_px=image_px,
    )
    if checkpoint is None:
        network = _model_class(resolved.class_name)._from_config(resolved.config)
    else:
        network = _load_weights(Path(checkpoint), resolved)
    # DDP waits for the gradient of every trainable parameter, and these would never get one.
    for name in resolved.unreached:
        network.get_parameter(name).requires_grad_(False)
    return HuggingFaceClassifier(network).train()


def settings_of(config: PretrainedConfig) -> dict[str, Any]:
    """Return what differs from the defaults, as `TransformersConfig.config` takes it.

    With the class name it builds the same architecture, without the checkpoint folder. The picture
    size is always named: left out, it would follow the recipe's.
    """
    every, default = config.to_dict(), type(config)().to_dict()
    left_out = _SET_BY_THE_DATA | _ABOUT_THE_FILE
    return {
        key: every[key]
        for key in default
        if key in every
        and key not in left_out
        and (every[key] != default[key] or key in ("image_size", "vision_config"))
    }


def _from_name(
    architecture: str, overrides: Mapping[str, Any], image_px: int
) -> tuple[str, PretrainedConfig]:
    model_type, class_name = _find_class(architecture)
    config_class = type(AutoConfig.for_model(model_type))
    _check_settings(config_class, overrides)
    settings = dict(overrides)
    if "image_size" in _known_settings(config_class) and "image_size" not in settings:
        settings["image_size"] = image_px
    if "vision_config" in _known_settings(config_class):
        settings["vision_config"] = {"image_size": image_px} | settings.get("vision_config", {})
    try:
        return class_name, config_class(**settings)
    except _BUILD_ERRORS as error:
        raise RecipeError(
            f"model.config: {class_name} refuses {dict(overrides)}: {_one_line(error)}; "
            f"see {config_class.__name__} of transformers"
        ) from error


def _from_folder(folder: Path, overrides: Mapping[str, Any]) -> tuple[str, PretrainedConfig]:
    if not (folder / "config.json").is_file():
        raise RecipeError(
            f"model.checkpoint: no config.json in {folder}; give a local folder written by "
            "save_pretrained (nothing is downloaded)"
        )
    if not any(folder.glob("*.safetensors")):
        raise RecipeError(
            f"model.checkpoint: no *.safetensors in {folder}; weights in other formats can run "
            "code when read, so convert them first (save_pretrained writes safetensors)"
        )
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, *_BUILD_ERRORS) as error:
        raise RecipeError(
            f"model.checkpoint: {folder}/config.json cannot be read by transformers "
            f"{transformers_version}: {_one_line(error)}"
        ) from error
    names = _classes_by_type().get(config.model_type)
    if names is None:
        raise RecipeError(
            f"model.checkpoint: {folder} holds a {config.model_type!r} model, which has no image "
            f"classifier in transformers; choose one of {', '.join(sorted(_classes_by_type()))}"
        )
    _check_settings(type(config), overrides)
    for key, value in overrides.items():
        setattr(config, key, value)
    stated = [name for name in config.architectures or [] if name in names]
    return (stated or names)[0], config


def _find_class(architecture: str) -> tuple[str, str]:
    by_type = _classes_by_type()
    if architecture in by_type:
        return architecture, by_type[architecture][0]
    for model_type, names in by_type.items():
        if architecture in names:
            return model_type, architecture
    near = _nearest(architecture, [*by_type, *architecture_names()])
    raise RecipeError(
        f"model.architecture: {architecture!r} is no image classifier of transformers "
        f"{transformers_version}{near}"
    )


def _classes_by_type() -> dict[str, tuple[str, ...]]:
    return {
        model_type: (names,) if isinstance(names, str) else tuple(names)
        for model_type, names in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES.items()
    }


def _model_class(class_name: str) -> Any:
    return getattr(transformers, class_name)


def _known_settings(config_class: type[PretrainedConfig]) -> set[str]:
    return set(config_class().to_dict()) | set(config_class.attribute_map)


def _check_settings(config_class: type[PretrainedConfig], overrides: Mapping[str, Any]) -> None:
    # transformers keeps unknown settings without a word, and two trials would silently be one.
    known = _known_settings(config_class) - _ABOUT_THE_FILE
    for key in overrides:
        if key in _SET_BY_THE_DATA:
            raise RecipeError(f"model.config: {key} follows from the data; remove it")
        if key not in known:
            raise RecipeError(
                f"model.config: {config_class.__name__} has no {key!r}{_nearest(key, known)}"
            )


def _try_out(
    class_name: str, config: PretrainedConfig, *, num_classes: int, image_px: int
) -> tuple[int, tuple[str, ...]]:
    what = f"model: {class_name} cannot classify pictures of {image_px} px"
    remedy = "change input.image_px or model.config"
    try:
        with torch.device("meta"):
            network = _model_class(class_name)._from_config(config).train()
            logits = network(pixel_values=torch.zeros(2, 3, image_px, image_px)).logits
            torch.autograd.backward(logits.sum())
    except _BUILD_ERRORS as error:
        raise RecipeError(f"{what}: {_one_line(error)}; {remedy}") from error
    if tuple(logits.shape) != (2, num_classes):
        raise RecipeError(
            f"{what}: logits {tuple(logits.shape)}, expected (2, {num_classes}); {remedy}"
        )
    parameters = dict(network.named_parameters())
    unreached = tuple(name for name, parameter in parameters.items() if parameter.grad is None)
    return sum(parameter.numel() for parameter in parameters.values()), unreached


def _load_weights(folder: Path, resolved: Architecture) -> PreTrainedModel:
    try:
        network, report = _model_class(resolved.class_name).from_pretrained(
            folder,
            config=resolved.config,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            dtype=torch.float32,
        )
    except (OSError, *_BUILD_ERRORS) as error:
        raise RecipeError(
            f"model.checkpoint: weights in {folder} cannot be read: {_one_line(error)}"
        ) from error
    missing = set(report["missing_keys"])
    mismatched = {name for name, *_ in report["mismatched_keys"]}
    body = {name for name in missing | mismatched if not _is_head(name, network)}
    if body:
        raise RecipeError(
            f"model.checkpoint: {len(body)} weights of {resolved.class_name} are missing in "
            f"{folder} or have another shape, first {sorted(body)[0]}; the model.config must be "
            "that of the checkpoint"
        )
    if missing | mismatched:
        logger.warning("%s: new weights for %s", folder, ", ".join(sorted(missing | mismatched)))
    loaded: PreTrainedModel = network
    return loaded


def _is_head(name: str, network: PreTrainedModel) -> bool:
    # Everything outside the backbone is the head: `classifier`, `cls_classifier`, `fc_norm`, ...
    return not name.startswith(f"{network.base_model_prefix}.")


def _nearest(name: str, known: Iterable[str]) -> str:
    lower = {candidate.lower(): candidate for candidate in known}
    near = difflib.get_close_matches(name.lower(), lower, n=1)
    return f"; did you mean {lower[near[0]]!r}?" if near else ""


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__

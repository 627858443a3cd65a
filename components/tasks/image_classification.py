"""Image classification: pictures in, one class out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch

from components.images.augment import AugmentConfig
from components.images.device import shared_tensor, to_model_input
from components.images.fit import ChannelTransform
from components.images.geometry import InputConfig
from components.models.shapes import ImageShape
from components.tasks.classification import Classification
from components.tasks.image_view import ImageView
from components.tasks.names import TaskName
from components.training.batch import Arrays


@dataclass(frozen=True)
class ImageClassification(Classification):
    """Pictures of one size, normalized on the device, told apart by class.

    Attributes:
        input_config: Size of the picture and how a picture is brought to it.
        transform: Channel mean and standard deviation of the train split.
        classes: Names in the order of the logits.
        label_smoothing: Share of the target that the loss spreads over all classes, in [0, 1).
    """

    input_config: InputConfig
    transform: ChannelTransform
    classes: tuple[str, ...]
    label_smoothing: float = 0.0
    name: ClassVar[TaskName] = "image_classification"

    @property
    def num_outputs(self) -> int:
        """Number of classes K."""
        return len(self.classes)

    @property
    def shape(self) -> ImageShape:
        """The picture that the model sees."""
        return ImageShape(self.input_config.image_px)

    @property
    def transform_hash(self) -> str:
        """Of the channel statistics."""
        return self.transform.hash

    def view(self) -> ImageView:
        """The plain picture, without augmentation."""
        config = self.input_config
        return ImageView.of(config.image_px, config.geometry, AugmentConfig(policy="none"), seed=0)

    def to_inputs(self, arrays: Arrays, device: torch.device) -> tuple[torch.Tensor, ...]:
        """Bring uint8 pictures to the device and normalize them there."""
        images_BHWC = shared_tensor(arrays["image"])
        if device.type == "cuda":
            images_BHWC = images_BHWC.pin_memory()
        mean, std = self.transform.mean, self.transform.std
        return (to_model_input(images_BHWC, mean, std, device=device),)

    def arrays_of(self, records: npt.NDArray[np.uint8]) -> Arrays:
        """Take canonical pictures: uint8 RGB (B, H, W, 3) of the model's size.

        Raises:
            ValueError: Another dtype or shape.
        """
        side = self.input_config.image_px
        if records.dtype != np.uint8 or records.shape[1:] != (side, side, 3):
            raise ValueError(
                f"images are {records.dtype} {records.shape}, expected uint8 "
                f"(B, {side}, {side}, 3); bring them there with to_input"
            )
        return {"image": records}

    def files(self) -> dict[str, Any]:
        """The fitted transform, what goes in and comes out, and the classes."""
        side = self.input_config.image_px
        image = {
            "dtype": "uint8",
            "shape": [side, side, 3],
            "layout": "HWC",
            "color": "RGB",
            "range": [0, 255],
        }
        output = {"dtype": "float32", "shape": [len(self.classes)], "sum": 1}
        return {
            "transform": self.transform.model_dump(mode="json"),
            "schema": {
                "input": self.input_config.model_dump(mode="json"),
                "columns": {"image": image},
                "output": {"probabilities": output},
            },
            "classes": list(self.classes),
        }

    @classmethod
    def from_files(cls, files: Mapping[str, Any]) -> Self:
        """Read back what `files` gave.

        Raises:
            LookupError: A part is missing.
            ValueError: A part is damaged.
        """
        return cls(
            input_config=InputConfig.model_validate(files["schema"]["input"]),
            transform=ChannelTransform.model_validate(files["transform"]),
            classes=tuple(str(name) for name in files["classes"]),
        )

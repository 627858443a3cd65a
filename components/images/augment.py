"""Random augmentation by albumentations 2.0.8 (MIT), which this file alone imports."""

import functools
import os
import random
from typing import Annotated, Any, Self

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, Field, model_validator

from components.config import Config
from components.errors import RecipeError
from components.images.geometry import Geometry, to_input
from components.images.policies import (
    POLICIES,
    TransformConfig,
    nearest,
    policy_names,
    policy_transforms,
)
from components.images.transforms import (
    build_transform,
    one_line,
    takes_any_size,
    with_certainty,
)
from components.records.identity import record_rng

__all__ = [
    "AugmentConfig",
    "Augmenter",
    "TransformConfig",
    "augment_seed",
    "build_augmenter",
    "policy_names",
    "policy_transforms",
]

ImageArray = npt.NDArray[np.uint8]


@functools.cache
def _library() -> Any:
    """Albumentations, imported when first needed, without asking the network for a newer one."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations

    return albumentations


def _builds(spec: TransformConfig) -> TransformConfig:
    """Check name, arguments and values; albumentations itself only warns of most of them."""
    build_transform(spec, _library(), image_px=64)
    return spec


class AugmentConfig(Config):
    """What happens at random to each training image, anew in every epoch: a policy or a list."""

    policy: str | None = None
    """A named policy: `none`, `light`, `standard`, `strong` (photographs) or `digits`."""
    transforms: (
        Annotated[list[Annotated[TransformConfig, AfterValidator(_builds)]], Field(min_length=1)]
        | None
    ) = None
    """Transforms of albumentations in the order in which they are applied, instead of a policy."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.policy is None) == (self.transforms is None):
            got = "neither" if self.policy is None else "both"
            raise ValueError(f"set exactly one of policy and transforms, got {got}")
        if self.policy is not None and self.policy not in POLICIES:
            raise ValueError(
                f"unknown policy {self.policy!r}{nearest(self.policy, POLICIES)}; "
                f"known: {', '.join(POLICIES)}"
            )
        return self

    def resolved(self) -> list[TransformConfig]:
        """The transforms, whether written out or named by a policy."""
        if self.transforms is not None:
            return self.transforms
        return policy_transforms(self.policy or "none")


class Augmenter:
    """Turns an image into its random version for one epoch; made by `build_augmenter`.

    Not for several threads at once: the random state lies in the transforms.
    """

    def __init__(
        self, transforms: list[Any], *, image_px: int, geometry: Geometry, takes_any_size: bool
    ) -> None:
        """Hold built transforms; `takes_any_size` if they bring images to a size themselves."""
        self._compose = _library().Compose(transforms)
        self._image_px = image_px
        self._geometry = geometry
        self._takes_any_size = takes_any_size

    def __call__(self, image_HWC: ImageArray, rng_seed: int) -> ImageArray:
        """Augment one image.

        Args:
            image_HWC: uint8 RGB of any size; not changed.
            rng_seed: From `augment_seed`. The result is a function of image and seed alone.

        Returns:
            uint8 (image_px, image_px, 3), contiguous.
        """
        if not self._takes_any_size:
            image_HWC = self._to_input(image_HWC)
        # Not Compose.set_random_seed: it gives every transform the same seed, so that all draw
        # the same numbers (a horizontal and a vertical flip would always come together).
        self._compose.set_random_state(
            np.random.Generator(np.random.Philox(key=rng_seed)), random.Random(rng_seed)
        )
        return self._to_input(self._compose(image=image_HWC)["image"])

    def _to_input(self, image_HWC: ImageArray) -> ImageArray:
        return to_input(image_HWC, image_px=self._image_px, geometry=self._geometry)


def augment_seed(seed: int, epoch: int, record_id: str) -> int:
    """Seed of one record's augmentation in one epoch: 63 bits from (seed, epoch, record id)."""
    return int(record_rng(seed, epoch, record_id).integers(2**63))


def build_augmenter(config: AugmentConfig, *, image_px: int, geometry: Geometry) -> Augmenter:
    """Build the augmenter of a recipe and try it on a tiny, a wide and a tall image.

    The first call in a process also imports albumentations (1.5 s). Keep the built object per
    process and send the config between processes.

    Where no transform brings images to a size of its own (such as RandomResizedCrop), they are
    brought to the model's size first, which makes the others cheap. Where the result has another
    size (a last crop, pad or scale), it is brought to the model's size too.

    Raises:
        RecipeError: A transform fails on an image; it would stop the training in the middle.
    """
    specs = config.resolved()
    any_size = any(takes_any_size(spec) for spec in specs)

    def build(specs: list[TransformConfig]) -> Augmenter:
        transforms = [build_transform(spec, _library(), image_px=image_px) for spec in specs]
        return Augmenter(transforms, image_px=image_px, geometry=geometry, takes_any_size=any_size)

    _try(build([with_certainty(spec) for spec in specs]), image_px)
    return build(specs)


def _try(augmenter: Augmenter, image_px: int) -> None:
    failures = (
        _library().augmentations.crops.transforms.CropSizeError,
        *(ValueError, TypeError, LookupError, ArithmeticError, RuntimeError, cv2.error),
    )
    rng = np.random.default_rng(0)
    for height_px, width_px in ((8, 8), (8, 3 * image_px), (2 * image_px + 1, image_px)):
        image_HWC = rng.integers(0, 256, (height_px, width_px, 3), dtype=np.uint8)
        for rng_seed in range(3):
            try:
                augmenter(image_HWC, rng_seed)
            except failures as error:
                raise RecipeError(
                    f"augment.transforms fail on an image of {width_px} x {height_px} px brought "
                    f"to {image_px} px: {one_line(str(error))}; put SmallestMaxSize or Resize "
                    "first, or change the arguments"
                ) from error

"""Random augmentation by albumentations 2.0.8 (MIT), which this file alone imports."""

import functools
import os
import random
from typing import Annotated, Any, Literal, Self

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, Field, model_validator

from components.config import Config
from components.errors import RecipeError
from components.images.batchwise import (
    BatchAugmenter,
    Change,
    ColourChange,
    Flip,
    Gray,
    Holes,
    RandomCrop,
    Warp,
)
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
    "build_batch_augmenter",
    "policy_names",
    "policy_transforms",
]

ImageArray = npt.NDArray[np.uint8]

_NO_MOVE = {"x": (0, 0), "y": (0, 0)}


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
    engine: Literal["auto", "albumentations"] = "auto"
    """`auto`: a policy made of RandomResizedCrop, HorizontalFlip, VerticalFlip, Affine,
    ShiftScaleRotate, ColorJitter, ToGray and CoarseDropout alone is drawn and applied a batch at a
    time (components/images/batchwise.py says what differs), any other picture by picture by
    albumentations. `albumentations`: always picture by picture."""
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


def build_batch_augmenter(config: AugmentConfig, *, image_px: int) -> BatchAugmenter | None:
    """Build the augmenter that works on whole batches; None where the policy needs the other.

    Arguments are read from albumentations' own transforms, which know every way to write them. The
    result can be pickled, and what takes it needs no albumentations.
    """
    if config.engine == "albumentations":
        return None
    built = [build_transform(spec, _library(), image_px=image_px) for spec in config.resolved()]
    crop = _batch_crop(built[0], image_px) if built else None
    changes = [_batch_change(transform) for transform in built[1 if crop else 0 :]]
    known = [change for change in changes if change is not None]
    if len(known) < len(changes):
        return None
    return BatchAugmenter(crop, tuple(known), image_px)


def _batch_crop(transform: Any, image_px: int) -> RandomCrop | None:
    if type(transform).__name__ != "RandomResizedCrop" or not _is_plain(transform):
        return None
    if transform.p < 1 or transform.size != (image_px, image_px):
        return None
    return RandomCrop(transform.scale, transform.ratio)


def _batch_change(transform: Any) -> Change | None:
    """The same change for batches; None where there is none, or not with these arguments."""
    name = type(transform).__name__
    if not _is_plain(transform):
        return None
    if name in ("HorizontalFlip", "VerticalFlip"):
        return Flip(1 if name == "HorizontalFlip" else 0, transform.p)
    if name in ("Affine", "ShiftScaleRotate"):
        return _warp(transform)
    if name == "ColorJitter":
        return ColourChange(
            brightness=transform.brightness,
            contrast=transform.contrast,
            saturation=transform.saturation,
            hue=transform.hue,
            p=transform.p,
        )
    if name == "ToGray" and transform.method == "weighted_average":
        return Gray(transform.p)
    if name == "CoarseDropout" and isinstance(transform.fill, int | float | tuple):
        height, width = transform.hole_height_range, transform.hole_width_range
        if height[1] < 1 and width[1] < 1:
            count = transform.num_holes_range
            return Holes(count, height, width, _colour(transform.fill), transform.p)
    return None


def _warp(transform: Any) -> Warp | None:
    if (
        transform.fit_output
        or transform.balanced_scale
        or transform.translate_px not in (None, _NO_MOVE)
    ):
        return None
    move = transform.translate_percent or _NO_MOVE
    return Warp(
        scale_x=transform.scale["x"],
        scale_y=transform.scale["y"],
        keep_ratio=transform.keep_ratio,
        rotate=transform.rotate,
        shear_x=transform.shear["x"],
        shear_y=transform.shear["y"],
        move_x=move["x"],
        move_y=move["y"],
        border=transform.border_mode,
        fill=_colour(transform.fill),
        p=transform.p,
    )


def _is_plain(transform: Any) -> bool:
    """True if it interpolates as batches do."""
    return getattr(transform, "interpolation", cv2.INTER_LINEAR) == cv2.INTER_LINEAR


def _colour(fill: float | tuple[float, ...]) -> tuple[float, float, float]:
    red, green, blue = fill if isinstance(fill, tuple) else (fill,) * 3
    return red, green, blue


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

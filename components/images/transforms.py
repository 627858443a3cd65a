"""The transforms that a recipe can use: their written form checked and built."""

import functools
import inspect
import warnings
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from components.images.policies import TransformConfig, nearest

_GROUPS = ("OneOf", "SomeOf", "RandomOrder", "Sequential")
# Sizes that a recipe may leave out, and the arguments that say them in another way.
_SIZES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "RandomResizedCrop": (("size",), ()),
    "RandomSizedCrop": (("size",), ()),
    "RandomCrop": (("height", "width"), ()),
    "CenterCrop": (("height", "width"), ()),
    "Resize": (("height", "width"), ()),
    "SmallestMaxSize": (("max_size",), ("max_size_hw",)),
    "LongestMaxSize": (("max_size",), ("max_size_hw",)),
    "PadIfNeeded": (("min_height", "min_width"), ("pad_height_divisor", "pad_width_divisor")),
}
# Those that take an image of any size: a policy with one of them gets the image as it is stored.
_TAKES_ANY_SIZE = (
    "RandomResizedCrop",
    "RandomCrop",
    "CenterCrop",
    "Resize",
    "SmallestMaxSize",
    "LongestMaxSize",
)
_REFUSED = {
    "Normalize ToFloat FromFloat ToTensorV2 ToTensor3D": (
        "images stay uint8, mean and std are applied on the device; leave it out"
    ),
    "Lambda": "a recipe holds no code",
    "ToRGB": "images are RGB already; leave it out",
    "AtLeastOneBBoxRandomCrop BBoxSafeRandomCrop ConstrainedCoarseDropout CropNonEmptyMaskIfExists"
    " MaskDropout RandomCropNearBBox RandomSizedBBoxSafeCrop": "it needs boxes or masks",
    "FDA HistogramMatching Mosaic OverlayElements PixelDistributionAdaptation TextImage": (
        "it needs other pictures or files beside the image"
    ),
    "CenterCrop3D CoarseDropout3D CubicSymmetry Pad3D PadIfNeeded3D RandomCrop3D": (
        "it needs volumes"
    ),
}


def takes_any_size(spec: TransformConfig) -> bool:
    """True if the transform, or the first of a Sequential, takes an image of any size."""
    if spec.name == "Sequential":
        return any(takes_any_size(child) for child in _children(spec))
    return spec.name in _TAKES_ANY_SIZE


def with_certainty(spec: TransformConfig) -> TransformConfig:
    """The same transform, but applied always: for trials."""
    arguments = {**spec.arguments, "p": 1.0}
    if spec.name in _GROUPS:
        children = [with_certainty(child) for child in _children(spec)]
        arguments["transforms"] = [child.model_dump(mode="json") for child in children]
    return TransformConfig(name=spec.name, arguments=arguments)


def build_transform(spec: TransformConfig, library: ModuleType, *, image_px: int) -> Any:
    """Build one transform or group; albumentations itself only warns of most mistakes.

    Args:
        spec: What the recipe says.
        library: The albumentations module.
        image_px: The model's input size, for sizes that the recipe leaves out.

    Raises:
        ValueError: Name, argument or value is refused; with the nearest or the accepted ones.
    """
    transform_class = _transform_class(spec.name, library)
    parameters = list(inspect.signature(transform_class.__init__).parameters)[1:]
    accepted = [name for name in parameters if "mask" not in name]
    for argument in spec.arguments:
        if argument not in parameters:
            raise ValueError(
                f"unknown argument {argument!r} of {spec.name}{nearest(argument, accepted)}; "
                f"accepted: {', '.join(accepted)}"
            )
    arguments = _with_sizes(spec, image_px)
    if "area_for_downscale" in parameters:
        # Bilinear, the default, skips pixels where it shrinks: not what evaluation sees.
        arguments.setdefault("area_for_downscale", "image")
    p = arguments.get("p", 1)
    if not isinstance(p, int | float) or not 0 <= p <= 1:
        raise ValueError(f"p of {spec.name} is {p!r}, expected a probability from 0 to 1")
    if spec.name in _GROUPS:
        arguments["transforms"] = [
            build_transform(child, library, image_px=image_px) for child in _children(spec)
        ]
    elif _has_strict(transform_class):
        arguments["strict"] = True
    return _construct(spec.name, transform_class, arguments)


def _has_strict(transform_class: Any) -> bool:
    """True if its arguments are validated by a schema; `strict` makes that raise, not warn."""
    owner = next(base for base in transform_class.__mro__ if "__init__" in vars(base))
    return "InitSchema" in vars(owner)


def _with_sizes(spec: TransformConfig, image_px: int) -> dict[str, Any]:
    arguments: dict[str, Any] = dict(spec.arguments)
    names, alternatives = _SIZES.get(spec.name, ((), ()))
    if not any(alternative in arguments for alternative in alternatives):
        for name in names:
            arguments.setdefault(name, (image_px, image_px) if name == "size" else image_px)
    if spec.name in ("RandomCrop", "CenterCrop"):
        # Without it an image smaller than the crop would stop the training.
        arguments.setdefault("pad_if_needed", True)
    return arguments


def _construct(name: str, transform_class: Any, arguments: dict[str, Any]) -> Any:
    try:
        # What is wrong raises (strict); the warnings left only recommend other transforms.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return transform_class(**arguments)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise ValueError(f"{name}: {_what_is_wrong(error)}") from error


def _what_is_wrong(error: Exception) -> str:
    if not isinstance(error.__cause__, ValidationError):
        return one_line(str(error))
    first = error.__cause__.errors()[0]
    argument = f"{first['loc'][0]} = {first['input']!r}: " if first["loc"] else ""
    return one_line(argument + first["msg"])


def _children(spec: TransformConfig) -> list[TransformConfig]:
    items = spec.arguments.get("transforms")
    if not isinstance(items, list) or not items:
        raise ValueError(f"{spec.name} needs a list `transforms`, got {items!r}")
    try:
        return [TransformConfig.model_validate(item) for item in items]
    except ValidationError as error:
        raise ValueError(f"{spec.name}: {one_line(error.errors()[0]['msg'])}") from error


def _transform_class(name: str, library: ModuleType) -> Any:
    for refused, why in _REFUSED.items():
        if name in refused.split():
            raise ValueError(f"transform {name!r} cannot be used: {why}")
    known = _transform_classes(library)
    if name not in known:
        raise ValueError(
            f"unknown transform {name!r}{nearest(name, known)}; names are those of albumentations "
            f"{library.__version__}, such as RandomResizedCrop, Affine, ColorJitter"
        )
    return known[name]


@functools.cache
def _transform_classes(library: ModuleType) -> dict[str, Any]:
    bases = (library.BasicTransform, library.DualTransform, library.ImageOnlyTransform)
    refused = {name for names in _REFUSED for name in names.split()}
    found = {
        name: value
        for name, value in vars(library).items()
        if inspect.isclass(value)
        and issubclass(value, (*bases[1:], library.NoOp))
        and value not in (*bases, library.Transform3D)
        and name not in refused
    }
    return found | {name: getattr(library, name) for name in _GROUPS}


def one_line(text: str) -> str:
    """A library's message on one line, without pydantic's prefix."""
    return " ".join(text.replace("Value error, ", "").split())

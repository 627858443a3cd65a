"""How a recipe writes transforms, and the named policies; knows no augmentation library."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import Field, GetJsonSchemaHandler, JsonValue, model_serializer, model_validator
from pydantic.json_schema import JsonSchemaValue

from components.config import Config
from components.errors import RecipeError

POLICIES: dict[str, list[JsonValue]] = {
    "none": [],
    "light": [{"RandomResizedCrop": {"scale": [0.6, 1.0]}}, "HorizontalFlip"],
    "standard": [
        {"RandomResizedCrop": {"scale": [0.35, 1.0]}},
        "HorizontalFlip",
        {
            "ColorJitter": {
                "brightness": [0.7, 1.3],
                "contrast": [0.7, 1.3],
                "saturation": [0.7, 1.3],
                "hue": [-0.05, 0.05],
                "p": 0.8,
            }
        },
    ],
    "strong": [
        {"RandomResizedCrop": {"scale": [0.2, 1.0]}},
        "HorizontalFlip",
        {"Affine": {"rotate": [-15, 15], "shear": [-8, 8], "border_mode": 4, "p": 0.5}},
        {
            "ColorJitter": {
                "brightness": [0.6, 1.4],
                "contrast": [0.6, 1.4],
                "saturation": [0.6, 1.4],
                "hue": [-0.1, 0.1],
                "p": 0.8,
            }
        },
        {"ToGray": {"p": 0.1}},
        {
            "CoarseDropout": {
                "num_holes_range": [1, 2],
                "hole_height_range": [0.1, 0.3],
                "hole_width_range": [0.1, 0.3],
                "p": 0.5,
            }
        },
    ],
    "digits": [
        {
            "Affine": {
                "translate_percent": [-0.1, 0.1],
                "rotate": [-10, 10],
                "scale": [0.9, 1.1],
                "shear": [-5, 5],
                "p": 0.9,
            }
        }
    ],
}
"""`none`: the view of evaluation. `light`, `standard`, `strong`: photographs, where left and right
may be exchanged. `digits`: characters on black, small moves, never flipped."""


class TransformConfig(Config):
    """One transform of albumentations: `HorizontalFlip` or `{Rotate: {limit: 10, p: 0.5}}`.

    `OneOf`, `SomeOf`, `RandomOrder` and `Sequential` take a list `transforms` of the same form.
    """

    name: str
    """Class name in albumentations 2.0.8."""
    arguments: dict[str, JsonValue] = Field(default_factory=dict)
    """Its keyword arguments; `p` is the probability that the transform is applied. Sizes (`size`,
    `height`, `width`, `max_size`) may be left out: they are the model's input size then."""

    @model_validator(mode="before")
    @classmethod
    def _from_recipe_form(cls, value: object) -> object:
        if isinstance(value, str):
            return {"name": value}
        if not isinstance(value, Mapping) or "name" in value:
            return value
        if len(value) != 1:
            raise ValueError(
                f"a transform is a name or one `Name: {{arguments}}`, got {len(value)} keys: "
                f"{', '.join(map(str, value))}; put a dash before each transform"
            )
        ((name, arguments),) = value.items()
        if arguments is not None and not isinstance(arguments, Mapping):
            raise ValueError(
                f"arguments of {name} are {arguments!r}, expected a mapping such as {{p: 0.5}}"
            )
        return {"name": name, "arguments": dict(arguments or {})}

    @model_serializer
    def _to_recipe_form(self) -> JsonValue:
        return {self.name: dict(self.arguments)} if self.arguments else self.name

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: Any, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Describe the form that recipes write, for editors."""
        one_name = {"type": "object", "minProperties": 1, "maxProperties": 1}
        arguments = {"additionalProperties": {"type": ["object", "null"]}}
        return {
            "description": " ".join((cls.__doc__ or "").split()),
            "anyOf": [{"type": "string"}, {**one_name, **arguments}],
        }


def policy_names() -> list[str]:
    """Names of the policies that a recipe can use."""
    return list(POLICIES)


def policy_transforms(name: str) -> list[TransformConfig]:
    """The transforms of a named policy.

    Raises:
        RecipeError: There is no such policy.
    """
    if name not in POLICIES:
        known = ", ".join(POLICIES)
        raise RecipeError(f"unknown policy {name!r}{nearest(name, POLICIES)}; known: {known}")
    return [TransformConfig.model_validate(item) for item in POLICIES[name]]


def nearest(name: str, known: Iterable[str]) -> str:
    """`, did you mean 'x'?` for the known name closest to a wrong one, or nothing."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    return f", did you mean {by_lower[found[0]]!r}?" if found else ""

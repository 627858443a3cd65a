"""Settings of the steps of compression, and in which order steps can follow one another."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, JsonValue, model_validator

from components.config import Config

_LayerNames = tuple[Annotated[str, Field(min_length=1)], ...]


class PruneChannelsConfig(Config):
    """Whole channels (of perceptrons: hidden units) leave; the model gets smaller and faster."""

    kind: Literal["prune"]
    """Which step this is."""
    what: Literal["channels"]
    """What leaves: `channels`, `heads`, `weights` or `2:4`."""
    max_flops: float = Field(0.5, ge=0.05, lt=1.0)
    """FLOPs that are left at most, as a share of what the model has."""
    round_to: int = Field(8, ge=1, le=64)
    """Channels that are left in a layer are a multiple of it; 8 suits vector registers."""
    importance: Literal["l1", "l2"] = "l2"
    """Norm of the weights of a channel; those with the smallest leave."""


class PruneHeadsConfig(Config):
    """Heads of attention and hidden units of vision transformers leave."""

    kind: Literal["prune"]
    """Which step this is."""
    what: Literal["heads"]
    """What leaves: `channels`, `heads`, `weights` or `2:4`."""
    max_flops: float = Field(0.5, ge=0.05, lt=1.0)
    """FLOPs that are left at most, as a share of what the model has."""
    round_to: int = Field(8, ge=1, le=64)
    """Hidden units that are left in a layer are a multiple of it."""


class PruneWeightsConfig(Config):
    """Single weights become zero and are not stored; the model is as fast as before."""

    kind: Literal["prune"]
    """Which step this is."""
    what: Literal["weights"]
    """What leaves: `channels`, `heads`, `weights` or `2:4`."""
    amount: float = Field(0.5, gt=0.0, lt=1.0)
    """Share of the weights of all convolutions and linear layers that becomes zero."""
    scope: Literal["global", "layer"] = "global"
    """`global`: the smallest of all layers together; `layer`: that share of each layer."""


class PruneTwoFourConfig(Config):
    """Two of every four weights of neighbouring inputs become zero and are not stored."""

    kind: Literal["prune"]
    """Which step this is."""
    what: Literal["2:4"]
    """What leaves: `channels`, `heads`, `weights` or `2:4`. Quote it in files that other programs
    read as YAML."""


class FactorizeConfig(Config):
    """Linear layers and 1 x 1 convolutions become two thinner ones each, where that saves."""

    kind: Literal["factorize"]
    """Which step this is."""
    energy: float | None = Field(None, gt=0.0, le=1.0)
    """Share of the squared singular values that each layer keeps; or give `rank`."""
    rank: int | None = Field(None, ge=1)
    """Width between the two layers, the same for all; or give `energy`."""
    layers: _LayerNames = ()
    """Names of the layers; all of the model where it is empty."""

    @model_validator(mode="after")
    def _exactly_one_size(self) -> Self:
        if (self.energy is None) == (self.rank is None):
            raise ValueError(
                f"give exactly one of energy and rank, not energy {self.energy} and rank "
                f"{self.rank}"
            )
        return self


class FoldConfig(Config):
    """Batch norms become part of the convolutions before them; the model computes the same."""

    kind: Literal["fold"]
    """Which step this is."""


class QuantizeStaticConfig(Config):
    """Convolutions and linear layers compute in 8-bit integers, on grids from calibration."""

    kind: Literal["quantize"]
    """Which step this is."""
    what: Literal["int8_static"]
    """How: `int8_static`, `int8_dynamic`, `int8_weights` or `int4_weights`."""
    calibration_records: int = Field(512, ge=32, le=8192)
    """Records of train, without augmentation, that the grids are measured on; all of them where
    train has fewer."""
    percentile: float = Field(100.0, gt=50.0, le=100.0)
    """Share of the values that lie within a grid on each side; 100 is smallest and largest."""
    weight_bits: Literal[7, 8] = 8
    """8, or 7 for processors without VNNI instructions, which are exact with 7 alone."""
    keep_float: _LayerNames = ()
    """Names of layers that stay in float."""


class QuantizeDynamicConfig(Config):
    """Linear layers compute in 8-bit integers, on a grid found for each record as it comes."""

    kind: Literal["quantize"]
    """Which step this is."""
    what: Literal["int8_dynamic"]
    """How: `int8_static`, `int8_dynamic`, `int8_weights` or `int4_weights`."""
    weight_bits: Literal[7, 8] = 8
    """8, or 7 for processors without VNNI instructions, which are exact with 7 alone."""
    keep_float: _LayerNames = ()
    """Names of layers that stay in float."""


class QuantizeWeightsConfig(Config):
    """Weights are stored with 255 or 15 levels for each output; the model is as fast as before."""

    kind: Literal["quantize"]
    """Which step this is."""
    what: Literal["int8_weights", "int4_weights"]
    """How: `int8_static`, `int8_dynamic`, `int8_weights` or `int4_weights`."""
    keep_float: _LayerNames = ()
    """Names of layers that stay in float."""


PruneStep = Annotated[
    PruneChannelsConfig | PruneHeadsConfig | PruneWeightsConfig | PruneTwoFourConfig,
    Field(discriminator="what"),
]
QuantizeStep = Annotated[
    QuantizeStaticConfig | QuantizeDynamicConfig | QuantizeWeightsConfig,
    Field(discriminator="what"),
]
CompressionStep = Annotated[
    PruneStep | FactorizeConfig | FoldConfig | QuantizeStep, Field(discriminator="kind")
]
"""Any step, told apart by `kind` and then by `what`."""
AnyStep = (
    PruneChannelsConfig
    | PruneHeadsConfig
    | PruneWeightsConfig
    | PruneTwoFourConfig
    | FactorizeConfig
    | FoldConfig
    | QuantizeStaticConfig
    | QuantizeDynamicConfig
    | QuantizeWeightsConfig
)

_ZEROS = ("prune weights", "prune 2:4")
# A later stage would undo an earlier one if it came first: products of thin matrices have no zeros,
# and layers of integers can be changed no more.
_STAGES = (
    ("prune channels", "prune heads"),
    ("factorize",),
    _ZEROS,
    ("fold",),
    (
        "quantize int8_static",
        "quantize int8_dynamic",
        "quantize int8_weights",
        "quantize int4_weights",
    ),
)
_STAGE_OF = {name: stage for stage, names in enumerate(_STAGES) for name in names}


class Misplaced(NamedTuple):
    """Two steps that cannot follow one another."""

    later: int
    """Index of the one that comes second."""
    earlier: int
    """Index of the one that comes first."""
    reason: str
    """What is wrong with the second."""
    remedy: str
    """What to do; `{earlier}` stands for the place of the first."""


def step_name(kind: str, settings: Mapping[str, JsonValue]) -> str:
    """Return what messages call a step: `fold`, `prune channels`."""
    what = settings.get("what")
    return f"{kind} {what}" if isinstance(what, str) else kind


def misplaced(names: Sequence[str]) -> Iterator[Misplaced]:
    """Yield at most one problem for each step that cannot come where it stands.

    Args:
        names: Of the steps in their order, as `step_name` gives them; those that no recipe can
            name, as a package may have behind it, are in nobody's way.
    """
    for later, name in enumerate(names):
        if name not in _STAGE_OF:
            continue
        for earlier, other in enumerate(names[:later]):
            if other not in _STAGE_OF:
                continue
            if _STAGE_OF[name] < _STAGE_OF[other]:
                reason, remedy = f"{name} comes before {other}", "move it before {earlier}"
            elif _STAGE_OF[name] == _STAGE_OF[other]:
                reason, remedy = f"{name} cannot follow {other}", "keep only one of the two"
            elif name == "quantize int8_static" and other in _ZEROS:
                reason = f"{name} stores a byte for each weight, zero or not; {other} saves nothing"
                remedy = "set what to int8_weights, or remove {earlier}"
            else:
                continue
            yield Misplaced(later, earlier, reason, remedy)
            break

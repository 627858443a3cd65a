"""Scalers of numbers: each is fitted from statistics, goes both ways, and equals scikit-learn's.

scipy is imported where it is used: recipes load without it.
"""

from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from components.config import Config
from components.tables.fitting.arrays import Float64s
from components.tables.fitting.sketch import QuantileSketch

ScalerName = Literal[
    "zscore", "minmax", "robust", "maxabs", "decimal",
    "log", "yeo_johnson", "quantile_uniform", "quantile_normal", "none",
]  # fmt: skip
"""How numbers are scaled; see the classes of this file."""

FROM_SKETCH: tuple[ScalerName, ...] = (
    "robust", "yeo_johnson", "quantile_uniform", "quantile_normal",
)  # fmt: skip
"""Scalers that are fitted on a column's quantiles."""

NUM_QUANTILES = 1000
"""Reference points of the quantile scalers, as scikit-learn's default."""
# scikit-learn clips the ends of the normal output here (sklearn.preprocessing BOUNDS_THRESHOLD).
_TAIL = 1e-7
_LAMBDAS = (-20.0, 20.0)
# A smaller lambda is 0 to all digits, and times a value it would lose its own.
_NO_POWER = 1e-150

_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
_Values = npt.NDArray[np.float64]


class Affine(Config):
    """(x - center) / scale: z-score, min-max, robust, max-abs, decimal scaling, or none."""

    kind: Literal["affine"] = "affine"
    center: _Finite = 0.0
    scale: _Positive = 1.0

    def forward(self, values: _Values) -> _Values:
        """Scale float64 values of any shape."""
        return (values - self.center) / self.scale

    def inverse(self, values: _Values) -> _Values:
        """Original values of scaled ones."""
        return values * self.scale + self.center


class SignedLog(Config):
    """sign(x) log(1 + |x|), then z-score; log1p where no value is negative."""

    kind: Literal["log"] = "log"
    after: Affine

    def forward(self, values: _Values) -> _Values:
        """Scale float64 values of any shape."""
        return self.after.forward(np.sign(values) * np.log1p(np.abs(values)))

    def inverse(self, values: _Values) -> _Values:
        """Original values of scaled ones."""
        logs = self.after.inverse(values)
        return np.sign(logs) * np.expm1(np.abs(logs))


class YeoJohnson(Config):
    """Yeo and Johnson 2000's power transform, then z-score (scikit-learn's PowerTransformer)."""

    kind: Literal["yeo_johnson"] = "yeo_johnson"
    power: _Finite
    """Lambda of the paper, by maximum likelihood."""
    after: Affine

    def forward(self, values: _Values) -> _Values:
        """Scale float64 values of any shape."""
        return self.after.forward(yeo_johnson(values, self.power))

    def inverse(self, values: _Values) -> _Values:
        """Original values of scaled ones; beyond the transform's range, its end."""
        return _inverse_yeo_johnson(self.after.inverse(values), self.power)


class QuantileMap(Config):
    """Rank among the train values, as a share or a standard normal deviate (QuantileTransformer).

    Values beyond the train split's extremes take the rank of the extreme.
    """

    kind: Literal["quantile"] = "quantile"
    quantiles: tuple[_Finite, ...]
    """Values at evenly spaced ranks, ascending."""
    normal: bool = False
    """Whether ranks become deviates of the standard normal distribution (within -+5.2)."""

    def forward(self, values: _Values) -> _Values:
        """Scale float64 values of any shape."""
        quantiles, shares = self._references()
        # The mean of both directions puts a tie in the middle of its ranks.
        up = np.interp(values, quantiles, shares)
        down = np.interp(-values, -quantiles[::-1], -shares[::-1])
        ranks = 0.5 * (up - down)
        ranks = np.where(values <= quantiles[0], 0.0, ranks)
        ranks = np.where(values >= quantiles[-1], 1.0, ranks)
        if not self.normal:
            return np.where(np.isnan(values), np.nan, ranks)
        deviates = np.clip(_ndtri(ranks), *_normal_ends())
        return np.where(np.isnan(values), np.nan, deviates)

    def inverse(self, values: _Values) -> _Values:
        """Original values of scaled ones, linear between the reference points."""
        quantiles, shares = self._references()
        ranks = _ndtr(values) if self.normal else values
        # Where the deviates were clipped: the extremes themselves.
        ranks = np.where(ranks < _TAIL, 0.0, np.where(ranks > 1 - _TAIL, 1.0, ranks))
        return np.interp(ranks, shares, quantiles)

    def _references(self) -> tuple[Float64s, Float64s]:
        return np.array(self.quantiles), np.linspace(0, 1, len(self.quantiles))


Scaler = Annotated[Affine | SignedLog | YeoJohnson | QuantileMap, Field(discriminator="kind")]
"""A fitted scaler; `forward` and `inverse` are pure and NaN stays NaN."""


def fit_affine(name: ScalerName, mean: float, std: float, minimum: float, maximum: float) -> Affine:
    """Z-score, min-max (to 0..1), max-abs, decimal scaling, or none, from a column's moments.

    A constant column is centered and not scaled, as in scikit-learn. Decimal scaling divides by
    the smallest power of ten (1 at least) that brings all train values below 1.
    """
    largest = max(abs(minimum), abs(maximum))
    if name == "zscore":
        return Affine(center=mean, scale=std or 1.0)
    if name == "minmax":
        return Affine(center=minimum, scale=maximum - minimum or 1.0)
    if name == "maxabs":
        return Affine(scale=largest or 1.0)
    if name == "decimal":
        digits = int(np.floor(np.log10(largest))) + 1 if largest >= 1 else 0
        return Affine(scale=10.0**digits)
    if name == "none":
        return Affine()
    raise ValueError(f"scaler {name!r} is not fitted on moments alone")


def fit_robust(sketch: QuantileSketch) -> Affine:
    """Median and interquartile range (scikit-learn's RobustScaler)."""
    low, median, high = sketch.quantiles(np.array([0.25, 0.5, 0.75])).tolist()
    return Affine(center=median, scale=high - low or 1.0)


def fit_quantile(sketch: QuantileSketch, *, normal: bool) -> QuantileMap:
    """Reference quantiles: 1,000, or as many as there are values."""
    shares = np.linspace(0, 1, max(2, min(NUM_QUANTILES, sketch.count)))
    quantiles = np.maximum.accumulate(sketch.quantiles(shares))
    return QuantileMap(quantiles=tuple(quantiles.tolist()), normal=normal)


def fit_yeo_johnson(sketch: QuantileSketch) -> YeoJohnson:
    """Lambda by maximum likelihood over the sketch's points, then mean and standard deviation.

    Equals PowerTransformer's lambda to 1e-4 while the sketch is exact, else to 1e-3.
    """
    from scipy import optimize

    values, weights = sketch.values, sketch.weights / sketch.count
    if sketch.minimum == sketch.maximum:
        return YeoJohnson(power=1.0, after=Affine(center=sketch.minimum))
    slope = float(weights @ (np.sign(values) * np.log1p(np.abs(values))))

    def loss(power: float) -> float:
        with np.errstate(over="ignore", invalid="ignore"):
            variance = _mean_std(yeo_johnson(values, power), weights)[1] ** 2
        if not np.isfinite(variance) or variance <= 0:
            return np.inf
        return float(0.5 * np.log(variance) - (power - 1) * slope)

    grid = np.linspace(*_LAMBDAS, 81)
    best = int(np.argmin([loss(float(power)) for power in grid]))
    ends = (grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)])
    found = optimize.minimize_scalar(loss, bounds=ends, method="bounded", options={"xatol": 1e-9})
    power = float(found.x)
    mean, std = _mean_std(yeo_johnson(values, power), weights)
    return YeoJohnson(power=power, after=Affine(center=mean, scale=std or 1.0))


def yeo_johnson(values: _Values, power: float) -> _Values:
    """The bare transform of Yeo and Johnson 2000, Biometrika 87: lambda is `power`."""
    logs = np.log1p(np.abs(values))
    # expm1 and log1p keep all digits where lambda is near 0 or 2 and values are small.
    above = logs if abs(power) < _NO_POWER else np.expm1(logs * power) / power
    below = -logs if power == 2 else -np.expm1(logs * (2 - power)) / (2 - power)
    return np.where(values >= 0, above, np.where(np.isnan(values), np.nan, below))


def _inverse_yeo_johnson(values: _Values, power: float) -> _Values:
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        rising = np.log1p(np.maximum(values * power, -1 + 1e-16))
        up = values if abs(power) < _NO_POWER else rising / power
        other = 2 - power
        down = -values if other == 0 else np.log1p(np.maximum(-values * other, -1 + 1e-16)) / other
        return np.where(values >= 0, np.expm1(up), -np.expm1(down))


def _mean_std(values: _Values, weights: Float64s) -> tuple[float, float]:
    mean = float(weights @ values)
    return mean, float(np.sqrt(weights @ (values - mean) ** 2))


def _ndtr(deviates: _Values) -> _Values:
    from scipy import special

    return np.asarray(special.ndtr(deviates), np.float64)


def _ndtri(shares: _Values) -> _Values:
    from scipy import special

    return np.asarray(special.ndtri(shares), np.float64)


def _normal_ends() -> tuple[float, float]:
    step = np.spacing(1.0)
    ends = _ndtri(np.array([_TAIL - step, 1 - (_TAIL - step)]))
    return float(ends[0]), float(ends[1])

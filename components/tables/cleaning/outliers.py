"""How far out is too far: plausible bounds of a numeric column, from its quantiles alone."""

import math
from collections.abc import Callable
from datetime import date, timedelta
from statistics import NormalDist

from components.tables.config import OutlierConfig
from components.tables.schema import ColumnKind

Quantile = Callable[[float], float]
Bounds = tuple[float | None, float | None]

DEFAULT_LIMITS = {"auto": 8.0, "robust_z": 8.0, "iqr": 3.0, "quantile": 0.001}

_LEAST_COUNT = 20
_NORMAL = NormalDist()
_HEAVY = 1.1
"""Growth of a tail, in that of an exponential one, beyond which the logarithmic scale is tried."""
_GAP = 0.6
"""Largest value within a bound, as a share of it, below which the bound lies in a gap."""


def plausible_bounds(quantile: Quantile, count: int, config: OutlierConfig) -> Bounds:
    """Smallest and largest plausible value of a column.

    Args:
        quantile: Value below which a share (0 to 1) of the column's numbers lies; exact or from
            a sketch.
        count: Numbers behind the quantiles; with fewer than 20 nothing is told.
        config: Method and limit.

    Returns:
        Lower and upper bound; None where there is none.

    Raises:
        ValueError: The limit makes no sense for the method.
    """
    limit = _checked_limit(config)
    if config.method == "none" or count < _LEAST_COUNT:
        return None, None
    if config.method == "quantile":
        return quantile(limit), quantile(1.0 - limit)
    if config.method == "auto":
        return _auto_bounds(quantile, count, limit)
    lower, median, upper = (quantile(share) for share in (0.25, 0.5, 0.75))
    spread = upper - lower
    if spread == 0.0:
        return None, None
    if config.method == "iqr":
        return lower - limit * spread, upper + limit * spread
    sigma = spread / 1.349  # of the normal distribution
    return median - limit * sigma, median + limit * sigma


def plausible_days(quantile: Quantile, count: int) -> Bounds:
    """First and last plausible day of a column of dates, in days since 1970-01-01.

    As for numbers, with each tail's own spread, but on the plain scale alone: the zero of a
    calendar means nothing. A tail that is heavier than exponential has no bound: few old records
    beside many new ones are no mistake, 1900-01-01 or 3024 among years from 2020 on is one.

    Args:
        quantile: Day below which a share (0 to 1) of the dates lies.
        count: Dates behind the quantiles; with fewer than 20 nothing is told.
    """
    if count < _LEAST_COUNT:
        return None, None
    outer, limit = _outer_share(count), DEFAULT_LIMITS["auto"]
    if quantile(1.0 - outer) == quantile(outer):
        return None, None
    sides: list[float | None] = []
    for tail in (lambda share: -quantile(1.0 - share), quantile):
        sides.append(None if _is_heavy(tail, outer) else _drawn_on(tail, outer, limit))
    low, high = sides
    return None if low is None else math.floor(-low), None if high is None else math.ceil(high)


def bound_text(value: float | None, kind: ColumnKind) -> str:
    """A bound in words: a number of six digits, or a day."""
    if value is None:
        return "any"
    if kind not in ("date", "datetime"):
        return f"{value:.6g}"
    try:
        return (date(1970, 1, 1) + timedelta(days=value)).isoformat()
    except OverflowError:
        return "any"


def _checked_limit(config: OutlierConfig) -> float:
    if config.limit is None:
        return DEFAULT_LIMITS.get(config.method, math.inf)
    if config.limit <= 0.0 or (config.method == "quantile" and config.limit >= 0.5):
        allowed = "between 0 and 0.5" if config.method == "quantile" else "more than 0"
        raise ValueError(f"outliers.limit is {config.limit}; {config.method} needs {allowed}")
    return config.limit


def _auto_bounds(quantile: Quantile, count: int, limit: float) -> Bounds:
    """Robust z, told from each tail by itself, on the scale on which that tail is straight.

    The line through a tail's quantiles in a normal QQ plot is drawn on to `limit` sigma: for a
    normal column that is median +- limit sigma, for a skewed one each side has its own sigma. An
    upper tail that is heavier than exponential, and has no gap before that bound, is drawn on the
    logarithmic scale (three quarters of the limit). So is the lower tail of a column of positive
    numbers, where it is narrow: that finds a mass in kg among grams. Of a column whose lowest
    value is most of it (no gain, no rain) the rest alone tells the upper bound.
    """
    outer = _outer_share(count)
    if quantile(1.0 - outer) == quantile(outer):
        middle = quantile(0.5)
        far = (limit - 1.0) * 0.5 * abs(middle)  # nothing tells a spread: its size stands for it
        if middle == 0.0:
            return None, None
        return (max(0.0, middle - far), middle + far) if middle > 0.0 else (middle - far, 0.0)
    return _lower_bound(quantile, count, limit), _upper_bound(quantile, count, limit)


def _outer_share(count: int) -> float:
    """Where a tail is read: far out, yet inside of the 2 % that may be wrong."""
    return 0.98 if count >= 200 else 0.95 if count >= 40 else 0.90


def _upper_bound(quantile: Quantile, count: int, limit: float) -> float | None:
    bottom = quantile(1.0 - _outer_share(count))
    if quantile(0.5) == bottom:
        share = share_below(quantile, math.nextafter(bottom, math.inf), count)
        count = round((1.0 - share) * count)
        if count < _LEAST_COUNT:
            return None
        quantile = _rest_above(quantile, share)
    outer = _outer_share(count)
    bound = _drawn_on(quantile, outer, limit)
    if quantile(1.0 - outer) <= 0.0 or not _is_heavy(quantile, outer):
        return bound
    inside = quantile(max(0.5, share_below(quantile, bound, count) - 2.0 / count))
    if inside <= _GAP * bound:
        return bound
    return math.exp(_drawn_on(lambda share: math.log(quantile(share)), outer, 0.75 * limit))


def _lower_bound(quantile: Quantile, count: int, limit: float) -> float:
    outer = _outer_share(count)
    plain = -_drawn_on(lambda share: -quantile(1.0 - share), outer, limit)
    if quantile(1.0 - outer) < 0.0:
        return plain
    if quantile(1.0 - outer) > 0.0:
        log = math.exp(-_drawn_on(lambda share: -math.log(quantile(1.0 - share)), outer, limit))
        if log > 0.02 * quantile(0.5):
            return max(plain, log)
    # Signs that were lost give values as large as the others; places below sea level or frost
    # give small ones, beside others hardly above zero.
    negative = share_below(quantile, 0.0, count)
    if negative > 0.0:
        low, typical = quantile(1.0 - outer), -quantile(negative / 2.0)
        reaches_zero = low < 0.25 * quantile(0.5) and typical < quantile(0.25)
        if reaches_zero or typical < low:
            return max(plain, -quantile(0.25))
    return max(plain, 0.0)


def share_below(quantile: Quantile, value: float, count: int) -> float:
    """Share of the numbers below `value`, to within half a number."""
    below, above = 0.0, 1.0
    if quantile(below) >= value:
        return 0.0
    while above - below > 0.5 / count:
        middle = (below + above) / 2.0
        if quantile(middle) < value:
            below = middle
        else:
            above = middle
    return below


def _rest_above(quantile: Quantile, share: float) -> Quantile:
    return lambda rank: quantile(share + (1.0 - share) * rank)


def _inner_share(outer: float) -> float:
    return {0.98: 0.90, 0.95: 0.85}.get(outer, 0.75)


def _drawn_on(quantile: Quantile, outer: float, limit: float) -> float:
    """Where the line of the upper tail reaches `limit` sigma."""
    inner = _inner_share(outer)
    z_outer, z_inner = _NORMAL.inv_cdf(outer), _NORMAL.inv_cdf(inner)
    far, near, middle = quantile(outer), quantile(inner), quantile(0.5)
    sigma = max((far - near) / (z_outer - z_inner), (far - middle) / z_outer)
    # Where that side of the column is one value, the other side's width or its size stands in.
    sigma = sigma or (far - quantile(1.0 - outer)) / (2.0 * z_outer) or 0.5 * abs(middle)
    return far + (limit - z_outer) * sigma


def _is_heavy(quantile: Quantile, outer: float) -> bool:
    """Whether the upper tail is heavier than that of an exponential distribution."""
    inner = _inner_share(outer)
    far, near, middle = quantile(outer), quantile(inner), quantile(0.5)
    exponential = math.log(2.0 * (1.0 - outer)) / math.log(2.0 * (1.0 - inner))
    return far - middle > _HEAVY * exponential * (near - middle)

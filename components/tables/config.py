"""Settings of table cleaning: what the recipe may say about a table and its columns."""

from typing import Literal, Self

from pydantic import Field, model_validator

from components.config import Config
from components.records.reasons import Policy, Reason, checked_policy
from components.tables.schema import ColumnKind, NumberForm

_IN_FILES = (
    Reason.JUNK_FILE,
    Reason.WRONG_EXTENSION,
    Reason.MISSING_LABEL,
    Reason.BAD_SPLIT,
    Reason.DUPLICATE,
    Reason.SPLIT_LEAK,
)
_ORDER = list(Reason)
TABLE_REASONS = frozenset({*_IN_FILES, *_ORDER[_ORDER.index(Reason.ENCODING) :]})
"""Reasons that concern tables."""


class OutlierConfig(Config):
    """Which values of a column are far out, and what is done about them."""

    method: Literal["auto", "iqr", "robust_z", "quantile", "none"] = "auto"
    """`auto`: robust z on the better of the plain and the logarithmic scale. `iqr`: beyond
    quartiles -+ limit x IQR. `quantile`: outside the quantiles limit and 1 - limit."""
    limit: float | None = None
    """In units of the method; default 8 for auto and robust_z, 3 for iqr, 0.001 for quantile."""
    action: Literal["keep", "clip", "quarantine", "mark"] = "keep"
    """`keep`: written down as a finding only. `clip`: brought to the bound. `quarantine`: the
    record is set aside. `mark`: kept, with a column NAME__outlier that is 1 there."""


class ColumnConfig(Config):
    """What the recipe pins of one column; what it leaves out is learned from the data."""

    kind: ColumnKind | None = None
    """What the column holds: integer, number, boolean, date, datetime, category, text or
    identifier (names a record or thing; never a feature)."""
    missing: tuple[str, ...] | None = None
    """Further spellings of a missing value, beside the usual ones (NA, null, ?, -)."""
    sentinels: tuple[float, ...] | None = None
    """Numbers that stand for a missing value, as -999; [] means none."""
    number: NumberForm | None = None
    """How its numbers are written."""
    day_first: bool | None = None
    """Whether 01/02/2024 is the first of February."""
    date_formats: tuple[str, ...] | None = None
    """strptime formats of its dates, most usual first."""
    mapping: dict[str, str] | None = None
    """Category spelling -> the one kept, in place of what would be learned."""
    categories: tuple[str, ...] | None = None
    """The categories that may occur; others are unknown_category."""
    minimum: float | None = None
    """Smallest plausible value; smaller ones are outliers."""
    maximum: float | None = None
    """Largest plausible value; larger ones are outliers."""
    outliers: OutlierConfig | None = None
    """What is done about this column's outliers, in place of data.clean.outliers."""
    required: bool = False
    """A record without a value is set aside as missing_value."""


class TableCleanConfig(Config):
    """How a table is cleaned."""

    key: tuple[str, ...] | None = None
    """Columns that name a record; rows that share them and differ are key conflicts. Default:
    a unique column that is called like a key, where there is one; [] means none."""
    rules: tuple[str, ...] = ()
    """Expressions that hold in every record, as `total == fare + tip + tolls`."""
    rule_tolerance: float = Field(0.005, ge=0.0)
    """Largest difference at which two numbers are equal in a rule."""
    outliers: OutlierConfig = OutlierConfig()
    """For every numeric column without its own."""
    policy: dict[Reason, Policy] = Field(default_factory=dict)
    """What is done about a reason: repair, quarantine, keep or stop."""
    max_quarantined_share: float = Field(0.5, ge=0.0, le=1.0)
    """Share of the records read that may be set aside; beyond it the job stops with the reasons."""

    @model_validator(mode="after")
    def _policies_make_sense(self) -> Self:
        checked_policy(self.policy, TABLE_REASONS, "tables")
        return self

"""The books of a prepared data set: read = prepared + quarantined + duplicates, always."""

from collections import Counter
from collections.abc import Mapping
from typing import Self

from pydantic import model_validator

from components.config import Config


class Accounting(Config):
    """Where every record that was read ended up."""

    read: int
    """Records that the source holds."""
    prepared: int
    """Records in the shards."""
    quarantined: int
    """Records set aside, each with a reason and its origin."""
    duplicates: int
    """Further copies of a prepared record, byte for byte the same."""
    quarantined_by_reason: dict[str, int]
    """Records set aside by reason code."""

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if self.read != self.prepared + self.quarantined + self.duplicates:
            raise ValueError(
                f"records are missing: read {self.read} is not prepared {self.prepared} + "
                f"quarantined {self.quarantined} + duplicates {self.duplicates}"
            )
        if self.quarantined != sum(self.quarantined_by_reason.values()):
            raise ValueError(
                f"quarantined {self.quarantined} is not the sum of {self.quarantined_by_reason}"
            )
        return self

    @property
    def quarantined_share(self) -> float:
        """Quarantined over read, 0 where nothing was read."""
        return self.quarantined / self.read if self.read else 0.0


def by_reason_text(quarantined_by_reason: Mapping[str, int]) -> str:
    """Counts by reason, largest first: `390 truncated, 22 too_small`."""
    return ", ".join(f"{n} {reason}" for reason, n in Counter(quarantined_by_reason).most_common())

"""What reading a table gives: raw records in pieces, those set aside, and what was found."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from components.records.findings import Finding

MAX_RECORDS = 65_536
"""Most records of a piece."""
MAX_FINDINGS = 10_000
"""Most findings of one reason and column in a piece; the rest is counted."""

QUARANTINED_SCHEMA = {
    "record": pl.Int64,
    "line": pl.Int64,
    "reason": pl.String,
    "detail": pl.String,
}
SHOWN_CHARS = 200
"""How much of a line or cell a finding shows."""


@dataclass(frozen=True)
class RawPiece:
    """Some records of a table as they stand in the file.

    Attributes:
        frame: Columns of the table as text (of Parquet as stored), RAW_RECORD, and for text
            files RAW_LINE, RAW_EXTRA and RAW_FIELDS.
        quarantined: Records that are no data; columns of `QUARANTINED_SCHEMA`.
        findings: What was found and done.
    """

    frame: pl.DataFrame
    quarantined: pl.DataFrame
    findings: list[Finding] = field(default_factory=list)

    @property
    def num_read(self) -> int:
        """Records of the file that this piece accounts for."""
        return self.frame.height + self.quarantined.height


def capped(findings: Sequence[Finding], origin: str) -> Iterator[Finding]:
    """Findings of one reason and column; of more than `MAX_FINDINGS` the rest as one."""
    yield from findings[:MAX_FINDINGS]
    if len(findings) > MAX_FINDINGS:
        rest = len(findings) - MAX_FINDINGS
        yield replace(
            findings[MAX_FINDINGS],
            origin=origin,
            record=None,
            line=None,
            before=None,
            after=None,
            detail=f"{rest} more",
            count=rest,
        )

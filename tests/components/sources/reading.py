"""Write a small source, list it, read all of it."""

from pathlib import Path

import pytest

from components.errors import DataError
from components.records.reasons import Policy, Reason
from components.sources.config import SourceConfig
from components.sources.listing import Listing, list_source, read_chunk
from components.sources.record import RawRecord

Row = tuple[str, str | None, str | None, bytes | None]


def write(root: Path, *names: str) -> Path:
    """Files whose content is their own name."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def listed(
    tmp_path: Path,
    path: Path | str,
    *,
    policy: dict[Reason, Policy] | None = None,
    **settings: object,
) -> tuple[Listing, list[RawRecord]]:
    """The listing of a source and all its records."""
    config = SourceConfig.model_validate({"path": str(path)} | settings)
    folder = tmp_path / f"listing-{len(list(tmp_path.glob('listing-*')))}"
    folder.mkdir()
    listing = list_source(config, folder, policy or {})
    records = [
        record
        for chunk in listing.chunks
        for record in read_chunk(config, listing.root, folder / chunk)
    ]
    assert listing.num_records == len(records)
    return listing, records


def rows(records: list[RawRecord]) -> list[Row]:
    return [(record.origin, record.label, record.split, record.data) for record in records]


def refusal(tmp_path: Path, path: Path | str, **settings: object) -> str:
    with pytest.raises(DataError) as caught:
        listed(tmp_path, path, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def problems(records: list[RawRecord]) -> dict[str, Reason]:
    """Reasons of the records that are set aside, by origin."""
    return {r.origin: r.problem.reason for r in records if r.problem is not None}

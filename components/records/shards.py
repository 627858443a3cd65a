"""How prepared records lie on disk: Parquet shards whose row groups are the unit of the feed."""

from pydantic import Field

from components.config import Config


class ShardConfig(Config):
    """Sizes of the prepared Parquet files."""

    target_bytes: int = Field(64 << 20, ge=1 << 16, le=1 << 30)
    """Bytes of stored images that one shard holds, about, at most 1 GiB. Larger shards mean fewer
    files and more memory while they are written."""
    row_group_rows: int | None = Field(None, ge=1, le=65536)
    """Records in one Parquet row group: the unit that the feed reads, decodes and shuffles.
    Default: 64 of images; of a table so many that it has some hundreds of groups."""

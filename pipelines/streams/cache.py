"""Row groups whose pictures stay decoded in Ray's object store, as long as there is room for them.

What fits is decoded once in a training and not once in an epoch; what does not fit is read and
decoded as it is needed. The pixels are the same either way.
"""

from collections.abc import Sequence
from typing import cast

import pyarrow as pa
import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError

RowGroup = tuple[str, int]
"""Path of the shard, number of the row group in it."""
Kept = list["ray.ObjectRef[pa.Table]"]
"""One reference: in a list, so that Ray hands over the reference and not what it points to."""


class RowGroupCache:
    """Knows what is kept; lives as long as the driver holds it.

    The tables lie where they were decoded, and belong to the process that decoded them: if Ray
    ends it, they are decoded again.
    """

    def __init__(self, budget_bytes: int) -> None:
        """Start empty.

        Args:
            budget_bytes: Of the object store, for all tables together.
        """
        self._left_bytes = budget_bytes
        self._kept: dict[RowGroup, tuple[Kept, int]] = {}

    def find(self, groups: Sequence[RowGroup]) -> tuple[dict[RowGroup, Kept], int]:
        """Those of the row groups that are kept, and the bytes that are left for others."""
        found = {group: self._kept[group][0] for group in groups if group in self._kept}
        return found, self._left_bytes

    def keep(self, group: RowGroup, table: Kept, num_bytes: int) -> None:
        """Keep a row group if there is room for it still."""
        if group not in self._kept and num_bytes <= self._left_bytes:
            self._kept[group] = table, num_bytes
            self._left_bytes -= num_bytes

    def forget(self, groups: Sequence[RowGroup]) -> None:
        """Give back the room of row groups that are lost."""
        for group in groups:
            _, num_bytes = self._kept.pop(group, (None, 0))
            self._left_bytes += num_bytes

    def num_bytes(self) -> int:
        """Of all that is kept."""
        return sum(num_bytes for _, num_bytes in self._kept.values())


class CacheClient:
    """A task's way to the cache."""

    def __init__(self, cache: ActorHandle[RowGroupCache]) -> None:
        """Make a client.

        Args:
            cache: As `open_cache` gave it.
        """
        self._cache = cache
        self._left_bytes = 0

    @property
    def has_room(self) -> bool:
        """Whether a table may fit; known since the last `find`."""
        return self._left_bytes > 0

    def find(self, groups: Sequence[RowGroup]) -> dict[RowGroup, pa.Table]:
        """The tables of those row groups that are kept, without copying them.

        A lost cache is an empty one: its row groups are read and decoded as without it.
        """
        kept: dict[RowGroup, Kept]
        try:
            kept, self._left_bytes = ray.get(self._cache.find.remote(groups))
        except RayError:
            self._left_bytes = 0
            return {}
        found: dict[RowGroup, pa.Table] = {}
        lost: list[RowGroup] = []
        for group, (reference,) in kept.items():
            try:
                found[group] = ray.get(reference)
            except RayError:
                lost.append(group)
        if lost:
            self._cache.forget.remote(lost)
        return found

    def keep(self, group: RowGroup, table: pa.Table) -> None:
        """Offer a decoded row group."""
        if table.nbytes <= self._left_bytes:
            self._left_bytes -= table.nbytes
            self._cache.keep.remote(group, [ray.put(table)], table.nbytes)


def open_cache(budget_bytes: int) -> ActorHandle[RowGroupCache]:
    """Start a cache, owned by this process."""
    cache = ray.remote(num_cpus=0)(RowGroupCache).remote(budget_bytes)
    return cast(ActorHandle[RowGroupCache], cache)

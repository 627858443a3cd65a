"""Where the time of a piece of work goes, by stage."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

STAGES = ("read", "decode", "augment")
"""What the feed does to a record, in order; rows of a table are encoded under `decode`."""


class Stopwatch:
    """Adds up seconds by stage; stages may lie inside one another, each second counts once."""

    def __init__(self) -> None:
        """Start with nothing."""
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._inside_s = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time of the block, less that of stages inside it."""
        outer_s, self._inside_s = self._inside_s, 0.0
        started_s = time.perf_counter()
        try:
            yield
        finally:
            elapsed_s = time.perf_counter() - started_s
            self.seconds[name] += elapsed_s - self._inside_s
            self._inside_s = outer_s + elapsed_s

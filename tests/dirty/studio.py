"""Where the pictures of a dirty folder are taken: one random stream, names without a hint."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from components.records.reasons import Reason
from components.records.split import Split
from tests.dirty.pictures import Picture, encoded, photo
from tests.dirty.truth import Outcome, View

OUTSIDE = ""
"""The label of a file that lies in no class folder."""


@dataclass(frozen=True)
class NewFile:
    """A file to be written.

    Attributes:
        name: Relative to its class folder; bytes where it is no UTF-8.
        data: None for a link to a file that is not there.
        label: None for the class of its plant, `OUTSIDE` for none, else the folder's name.
        split: None for the split of its plant.
    """

    name: str | bytes
    data: bytes | None
    label: str | None = None
    split: Split | None = None


@dataclass(frozen=True)
class Plant:
    """One defect before it has a place: files that go into one class and split unless they say."""

    kind: str
    files: tuple[NewFile, ...]
    reasons: frozenset[Reason]
    outcome: Outcome
    view: View | None = None

    @property
    def related(self) -> bool:
        """Whether a finding has to name another file too."""
        return len(self.files) > 1


@dataclass(frozen=True)
class Benign:
    """One clean file with something odd about it ("" for nothing)."""

    kind: str
    file: NewFile
    view: View | None = None


@dataclass
class Studio:
    """Takes pictures and names their files."""

    rng: np.random.Generator
    _numbers: Iterator[int] = field(default_factory=lambda: iter(range(1, 100_000)))

    def name(self, extension: str = "jpg") -> str:
        """A new file name as cameras and phones give them."""
        number = next(self._numbers)
        day = f"2024{number % 12 + 1:02d}{number % 28 + 1:02d}"
        stems = (
            f"IMG_{number:04d}",
            f"DSC{number:05d}",
            f"{day}_{number:06d}",
            f"photo-{number}",
        )
        return stems[number % 4] + (f".{extension}" if extension else "")

    def photo(self, height_px: int = 0, width_px: int = 0) -> Picture:
        """A new picture."""
        return photo(self.rng, height_px, width_px)

    def usual(self) -> Picture:
        """A new picture of 180 to 420 pixels a side, large enough to be cropped or blurred."""
        height_px, width_px = (int(side) for side in self.rng.integers(180, 421, 2))
        return photo(self.rng, height_px, width_px)

    def jpeg(self, quality: int = 90, **options: object) -> bytes:
        """A new JPEG."""
        return encoded(self.usual(), "JPEG", quality=quality, **options)

    def plant(
        self,
        kind: str,
        data: bytes | None,
        reasons: set[Reason],
        outcome: Outcome = Outcome.ASIDE,
        *,
        name: str | bytes | None = None,
        extension: str = "jpg",
        view: View | None = None,
    ) -> Plant:
        """A defect of one file."""
        file = NewFile(self.name(extension) if name is None else name, data)
        return Plant(kind, (file,), frozenset(reasons), outcome, view)

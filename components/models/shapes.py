"""What a model takes: pictures of a size, or so many features and codes; without torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ImageShape:
    """Square RGB pictures.

    Attributes:
        image_px: Side in pixels.
    """

    image_px: int

    def __str__(self) -> str:
        return f"{self.image_px} x {self.image_px} px"


@dataclass(frozen=True)
class TableShape:
    """Encoded rows of a table.

    Attributes:
        num_features: Numbers of each row.
        cardinalities: Of each code column, the number of codes: 0 to cardinality - 1.
    """

    num_features: int
    cardinalities: tuple[int, ...] = ()

    def __str__(self) -> str:
        codes = f", {len(self.cardinalities)} codes" if self.cardinalities else ""
        return f"{self.num_features} features{codes}"


InputShape = ImageShape | TableShape

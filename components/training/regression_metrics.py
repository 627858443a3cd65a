"""Regression metrics as sums that can be added over batches and ranks."""

import math
from dataclasses import dataclass, field, replace
from typing import Self

import torch

from components.training.step import PerRow


@dataclass(eq=False)
class RegressionSums:
    """Sums of targets, squares and residuals over rows, in float64 on the CPU.

    Targets are scaled to about one standard deviation around 0, so that the sum of squares less
    the square of the sum loses nothing that matters.
    """

    scale: float
    """What 1 of a scaled target is in the original unit."""
    losses: PerRow
    """The loss of each row."""
    totals: torch.Tensor = field(default_factory=lambda: torch.zeros(6, dtype=torch.float64))
    """Rows, losses, y, y^2, (y - p)^2, |y - p|."""

    @torch.inference_mode()
    def update(
        self,
        outputs: torch.Tensor,
        targets_B: torch.Tensor,
        weights_B: torch.Tensor | None = None,
        /,
    ) -> None:
        """Add one batch of scaled predictions (B, 1) or (B,) and scaled targets (B,)."""
        predicted_B, targets_B = outputs.double().cpu().reshape(-1), targets_B.double().cpu()
        if weights_B is not None:
            counted_B = weights_B.cpu() != 0
            predicted_B, targets_B = predicted_B[counted_B], targets_B[counted_B]
        errors_B = targets_B - predicted_B
        rows = torch.stack(
            [
                torch.ones_like(targets_B),
                self.losses(predicted_B[:, None], targets_B),
                targets_B,
                targets_B**2,
                errors_B**2,
                errors_B.abs(),
            ]
        )
        self.totals = self.totals + rows.sum(dim=1)

    def __add__(self, other: "RegressionSums") -> Self:
        """Return the sums over the rows of both."""
        return replace(self, totals=self.totals + other.totals)

    def to_tensor(self) -> torch.Tensor:
        """Return all sums as one float64 vector of 6 for `sum_over_ranks`."""
        return self.totals.clone()

    def from_tensor(self, values: torch.Tensor, /) -> Self:
        """Return sums of the same unit with what `to_tensor` gave.

        Raises:
            ValueError: The length is not 6.
        """
        if values.shape != self.totals.shape:
            raise ValueError(f"expected a vector of 6, not shape {tuple(values.shape)}")
        return replace(self, totals=values.double().cpu().clone())

    def metrics(self) -> dict[str, float]:
        """Return the mean loss (scaled), and rmse, mae (original unit) and r2.

        Equal to scikit-learn's `root_mean_squared_error`, `mean_absolute_error` and `r2_score`,
        also where all targets are the same: r2 is 1 if all are met and 0 if not.

        Raises:
            ValueError: No row was seen.
        """
        count, loss, y, y2, e2, absolute = self.totals.tolist()
        if count == 0:
            raise ValueError("metrics of no rows; update the sums with at least one batch")
        spread = max(0.0, y2 - y * y / count)
        # What rounding leaves of a spread or an error that is none.
        none = 1e-14 * y2
        r2 = 1.0 - e2 / spread if spread > none else float(e2 <= none)
        return {
            "loss": loss / count,
            "rmse": math.sqrt(e2 / count) * self.scale if e2 >= 0 else math.nan,
            "mae": absolute / count * self.scale,
            "r2": r2,
        }

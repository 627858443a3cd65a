"""What regression of anything shares: losses of scaled targets, residuals, judged records."""

from abc import ABC, abstractmethod
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch.nn import functional as F

from components.tables.fitting.scalers import Affine
from components.training.regression_metrics import RegressionSums

PREDICTION_COLUMNS = pa.schema(
    {
        "target": pa.float64(),
        "predicted": pa.float64(),
        "loss": pa.float64(),
    }
)


class Regression(ABC):
    """The head of every model of numbers: one output, the scaled target.

    Those who inherit give the fields.
    """

    loss: Literal["mse", "huber"]
    huber_delta: float

    @property
    @abstractmethod
    def scaler(self) -> Affine:
        """How the target is scaled."""

    @abstractmethod
    def values(self, rows: pa.Table) -> npt.NDArray[np.float64]:
        """The true values of prepared rows in the original unit, (N,)."""

    @property
    def classes(self) -> tuple[str, ...]:
        """None: nothing is told apart."""
        return ()

    @property
    def num_outputs(self) -> int:
        """One value."""
        return 1

    @property
    def prediction_columns(self) -> pa.Schema:
        """True and predicted value in the original unit, and the loss of the scaled one."""
        return PREDICTION_COLUMNS

    def losses(self, outputs: torch.Tensor, targets_B: torch.Tensor) -> torch.Tensor:
        """Squared error, or Huber's loss (Huber 1964), of each row's scaled target."""
        predicted_B = outputs[:, 0]
        if self.loss == "huber":
            return F.huber_loss(predicted_B, targets_B, reduction="none", delta=self.huber_delta)
        return F.mse_loss(predicted_B, targets_B, reduction="none")

    def scores(self, outputs: torch.Tensor, targets_B: torch.Tensor) -> torch.Tensor:
        """Squared error of each row's scaled target."""
        return F.mse_loss(outputs[:, 0], targets_B, reduction="none")

    def train_metrics(self, mean_score: float) -> dict[str, float]:
        """Name the root of the mean squared error, in the original unit."""
        return {"rmse": float(np.sqrt(mean_score)) * self.scaler.scale}

    def new_sums(self) -> RegressionSums:
        """Return the sums over no rows."""
        return RegressionSums(self.scaler.scale, self.losses)

    def predictions(self, outputs: torch.Tensor) -> npt.NDArray[np.float64]:
        """Return values (B,) in the original unit."""
        values_B: npt.NDArray[np.float64] = outputs[:, 0].double().cpu().numpy()
        return self.scaler.inverse(values_B)

    def judged(self, predictions: npt.NDArray[Any], rows: pa.Table) -> dict[str, Any]:
        """Compare values (B,) with the true ones of prepared rows."""
        values_B = self.values(rows)
        losses_B = self.losses(self._scaled(predictions)[:, None], self._scaled(values_B))
        return {"target": values_B, "predicted": predictions, "loss": losses_B.numpy()}

    def sums_of(self, judged: pa.Table) -> RegressionSums:
        """Return the sums over judged records."""
        sums = self.new_sums()
        predicted_B, values_B = (judged.column(name).to_numpy() for name in ("predicted", "target"))
        sums.update(self._scaled(predicted_B), self._scaled(values_B))
        return sums

    def _scaled(self, values_B: npt.NDArray[np.float64]) -> torch.Tensor:
        return torch.from_numpy(self.scaler.forward(values_B))

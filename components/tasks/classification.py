"""What classification of anything shares: cross-entropy, hits, probabilities, judged records."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch.nn import functional as F

from components.tasks.view import View
from components.training.metrics import ClassificationSums

PREDICTION_COLUMNS = pa.schema(
    {
        "label": pa.int32(),
        "predicted": pa.int32(),
        "confidence": pa.float32(),
        "loss": pa.float32(),
    }
)


class Classification(ABC):
    """The head of every classifier: one logit per class.

    Those who inherit give the number of classes and `label_smoothing`.
    """

    label_smoothing: float

    @property
    @abstractmethod
    def num_outputs(self) -> int:
        """Number of classes K."""

    @property
    def prediction_columns(self) -> pa.Schema:
        """Class numbers, the probability of the predicted class, and the loss in nats."""
        return PREDICTION_COLUMNS

    def losses(self, outputs: torch.Tensor, targets_B: torch.Tensor) -> torch.Tensor:
        """Cross-entropy (nats) of each row, with label smoothing."""
        return F.cross_entropy(
            outputs, targets_B, reduction="none", label_smoothing=self.label_smoothing
        )

    def scores(self, outputs: torch.Tensor, targets_B: torch.Tensor) -> torch.Tensor:
        """Whether the largest logit of each row is the label."""
        return outputs.argmax(dim=1) == targets_B

    def train_metrics(self, mean_score: float) -> dict[str, float]:
        """Name the share of hits."""
        return {"accuracy": mean_score}

    def new_sums(self) -> ClassificationSums:
        """Return the sums over no rows."""
        return ClassificationSums.zero(self.num_outputs)

    def predictions(self, outputs: torch.Tensor) -> npt.NDArray[np.float32]:
        """Return class probabilities (B, K) of logits; rows sum to 1."""
        probabilities_BK: npt.NDArray[np.float32] = outputs.float().softmax(dim=1).cpu().numpy()
        return probabilities_BK

    @abstractmethod
    def view(self) -> View:
        """How prepared rows become inputs and labels in evaluation."""

    def judged(self, predictions: npt.NDArray[Any], rows: pa.Table) -> dict[str, Any]:
        """Compare probabilities (B, K) with the labels of prepared rows."""
        targets_B = self.view().targets(rows)
        predicted_B = predictions.argmax(axis=1)
        rows_B = np.arange(len(targets_B))
        true_B = np.maximum(predictions[rows_B, targets_B], np.finfo(np.float32).tiny)
        return {
            "label": targets_B.astype(np.int32),
            "predicted": predicted_B.astype(np.int32),
            "confidence": predictions[rows_B, predicted_B],
            "loss": -np.log(true_B),
        }

    def sums_of(self, judged: pa.Table) -> ClassificationSums:
        """Return the sums over judged records."""
        labels_B = judged.column("label").to_numpy().astype(np.int64)
        predicted_B = judged.column("predicted").to_numpy().astype(np.int64)
        count = self.num_outputs
        cells = np.bincount(labels_B * count + predicted_B, minlength=count**2)
        loss_sum = float(judged.column("loss").to_numpy().astype(np.float64).sum())
        return ClassificationSums(torch.from_numpy(cells.reshape(count, count)), loss_sum)

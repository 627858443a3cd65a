"""Metrics as sums that can be added over batches and ranks; those of classification."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypedDict

import numpy as np
import torch
from torch.nn import functional as F


class MetricSums(Protocol):
    """Sums over rows, from which the metrics of a task are computed at the end."""

    def update(
        self,
        outputs: torch.Tensor,
        targets_B: torch.Tensor,
        weights_B: torch.Tensor | None = None,
        /,
    ) -> None:
        """Add one batch; rows of weight 0 do not count."""
        ...

    def __add__(self, other: Any, /) -> Self:
        """The sums over the rows of both, of one task."""
        ...

    def to_tensor(self) -> torch.Tensor:
        """All sums as one float64 vector, which may be added over ranks."""
        ...

    def from_tensor(self, values: torch.Tensor, /) -> Self:
        """Read back what `to_tensor` gave."""
        ...

    def metrics(self) -> dict[str, float]:
        """The metrics of the rows seen, by name."""
        ...


class ClassScore(TypedDict):
    """How well one class is told from the others."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(slots=True)
class ClassificationSums:
    """Counts and the loss sum over rows; everything else is computed from them at the end.

    They are kept on the CPU: float64 does not exist on every device, and the counts must be exact.
    """

    confusion_KK: torch.Tensor
    """Rows by (true class, predicted class); int64."""
    loss_sum: float = 0.0
    """Sum of the cross-entropy (nats) over the rows."""

    @classmethod
    def zero(cls, num_classes: int) -> Self:
        """Return the sums over no rows."""
        return cls(torch.zeros(num_classes, num_classes, dtype=torch.int64))

    @property
    def num_classes(self) -> int:
        """Number of classes K."""
        return self.confusion_KK.shape[0]

    @property
    def count(self) -> int:
        """Rows seen."""
        return int(self.confusion_KK.sum())

    @torch.inference_mode()
    def update(
        self,
        logits_BK: torch.Tensor,
        labels_B: torch.Tensor,
        weights_B: torch.Tensor | None = None,
    ) -> None:
        """Add one batch.

        Args:
            logits_BK: Unnormalized scores, float, any device.
            labels_B: True classes, int64, in [0, K).
            weights_B: 1 for a row that counts, 0 for padding; None counts all rows.

        Raises:
            ValueError: The logits have another number of classes than these sums.
            RuntimeError: A label is not in [0, K).
        """
        if logits_BK.ndim != 2 or logits_BK.shape[1] != self.num_classes:
            raise ValueError(
                f"logits have shape {tuple(logits_BK.shape)}, expected (B, {self.num_classes})"
            )
        logits_BK, labels_B = logits_BK.float().cpu(), labels_B.cpu()
        if weights_B is not None:
            counted_B = weights_B.cpu() != 0
            logits_BK, labels_B = logits_BK[counted_B], labels_B[counted_B]
        losses_B = F.cross_entropy(logits_BK, labels_B, reduction="none")
        self.loss_sum += float(losses_B.double().sum())
        cells_B = labels_B * self.num_classes + logits_BK.argmax(dim=1)
        self.confusion_KK.view(-1).scatter_add_(0, cells_B, torch.ones_like(cells_B))

    def __add__(self, other: "ClassificationSums") -> Self:
        """Return the sums over the rows of both."""
        return type(self)(self.confusion_KK + other.confusion_KK, self.loss_sum + other.loss_sum)

    def to_tensor(self) -> torch.Tensor:
        """Return all sums as one float64 vector of 1 + K * K for `sum_over_ranks`.

        Counts stay exact below 2**53.
        """
        return torch.cat(
            [
                torch.tensor([self.loss_sum], dtype=torch.float64),
                self.confusion_KK.flatten().double(),
            ]
        )

    @classmethod
    def from_tensor(cls, values: torch.Tensor) -> Self:
        """Read back what `to_tensor` gave.

        Raises:
            ValueError: The length is not 1 + K * K.
        """
        num_classes = math.isqrt(max(values.numel() - 1, 0))
        if values.ndim != 1 or values.numel() != 1 + num_classes**2:
            raise ValueError(f"expected a vector of 1 + K * K, not shape {tuple(values.shape)}")
        counts_KK = values[1:].round().to(torch.int64).view(num_classes, num_classes)
        return cls(counts_KK.cpu().clone(), float(values[0]))

    def metrics(self) -> dict[str, float]:
        """Return loss, accuracy and macro precision, recall and F1.

        Equal to scikit-learn's `accuracy_score` and `precision_recall_fscore_support` with
        average="macro" and zero_division=0: the mean is over the classes that occur as label or as
        prediction. The loss is the mean cross-entropy in nats.

        Raises:
            ValueError: No row was seen.
        """
        if self.count == 0:
            raise ValueError("metrics of no rows; update the sums with at least one batch")
        precision_K, recall_K, f1_K, _ = self._scores()
        confusion_KK = self.confusion_KK.numpy()
        occurs_K = (confusion_KK.sum(axis=0) + confusion_KK.sum(axis=1)) > 0
        return {
            "loss": self.loss_sum / self.count,
            "accuracy": float(np.trace(confusion_KK)) / self.count,
            "precision_macro": float(precision_K[occurs_K].mean()),
            "recall_macro": float(recall_K[occurs_K].mean()),
            "f1_macro": float(f1_K[occurs_K].mean()),
        }

    def per_class(self, classes: Sequence[str]) -> list[ClassScore]:
        """Return precision, recall, F1 and support (true rows) of each class, in class order.

        Raises:
            ValueError: The number of names is not K.
        """
        if len(classes) != self.num_classes:
            raise ValueError(f"{len(classes)} class names for {self.num_classes} classes")
        rows = zip(classes, *(values.tolist() for values in self._scores()), strict=True)
        return [
            ClassScore(name=name, precision=p, recall=r, f1=f1, support=support)
            for name, p, r, f1, support in rows
        ]

    def _scores(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        confusion_KK = self.confusion_KK.numpy()
        hits_K = np.diag(confusion_KK).astype(np.float64)
        predicted_K, true_K = confusion_KK.sum(axis=0), confusion_KK.sum(axis=1)
        precision_K = hits_K / np.maximum(predicted_K, 1)
        recall_K = hits_K / np.maximum(true_K, 1)
        f1_K = 2 * hits_K / np.maximum(predicted_K + true_K, 1)
        return precision_K, recall_K, f1_K, true_K

"""What a report is made of: plain values that the driver gathers; no files and no trackers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from components.records.accounting import Accounting

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class QuarantineExample:
    """One record that was set aside; `thumbnail_HWC` is None when it cannot be decoded."""

    origin: str
    reason: str
    detail: str
    remedy: str
    thumbnail_HWC: Image | None = None


@dataclass(frozen=True)
class AugmentedExample:
    """One training record and what the augmentation made of it in several epochs."""

    record_id: str
    label: str
    original_HWC: Image
    augmented_HWC: Sequence[Image]


@dataclass(frozen=True)
class Mistake:
    """A record that the model got wrong; `confidence` is the probability of `predicted`."""

    record_id: str
    origin: str
    label: str
    predicted: str
    confidence: float
    loss: float
    image_HWC: Image


@dataclass(frozen=True)
class ReportData:
    """Everything that one run's page shows; an empty field leaves its section out.

    Attributes:
        title: Name of the run or recipe.
        run_id: MLflow run id.
        created_utc: When the run ended, ISO 8601.
        headline: Label -> text of the first numbers on the page, in order; at most six.
        accounting: Where the records went.
        quarantine_examples: Some of the records set aside.
        class_counts: Split -> class -> number of records.
        augmented: Originals beside their augmented views.
        history: One mapping per epoch: `epoch` (from 0), `global_step` (steps done at its end),
            `train_loss`, `train_accuracy`, `val_loss`, `val_accuracy`, `val_f1_macro`,
            `learning_rate`, `images_per_s`, `data_wait_share` (0 to 1);
            a missing key leaves its curve out.
        kept: The row of `history` whose model was kept; None leaves the sentence out.
        monitor: Validation metric by which it was kept.
        steps: One mapping per logged step: `global_step`, `loss`, `learning_rate`.
        confusion: Split -> counts (K, K), rows true, columns predicted.
        classes: The K class names in the order of `confusion`.
        metrics: Split -> metric -> value.
        per_class: Split -> one mapping per class: `name`, `precision`, `recall`, `f1`, `support`,
            as `components.training.metrics` gives them.
        mistakes: Worst first.
        timings_s: Stage -> seconds.
        data_wait_share: Share of the training time spent waiting for data, 0 to 1.
        recipe_yaml: The resolved recipe.
        versions: Package -> version.
        git_commit: Commit of the code, or an empty string.
    """

    title: str
    run_id: str
    created_utc: str
    headline: Mapping[str, str]
    accounting: Accounting
    quarantine_examples: Sequence[QuarantineExample] = ()
    class_counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    augmented: Sequence[AugmentedExample] = ()
    history: Sequence[Mapping[str, float]] = ()
    kept: Mapping[str, float] | None = None
    monitor: str = "accuracy"
    steps: Sequence[Mapping[str, float]] = ()
    confusion: Mapping[str, npt.NDArray[np.int64]] = field(default_factory=dict)
    classes: Sequence[str] = ()
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    per_class: Mapping[str, Sequence[Mapping[str, object]]] = field(default_factory=dict)
    mistakes: Sequence[Mistake] = ()
    timings_s: Mapping[str, float] = field(default_factory=dict)
    data_wait_share: float = 0.0
    recipe_yaml: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    git_commit: str = ""

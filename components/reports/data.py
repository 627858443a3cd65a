"""What a report is made of: plain values that the driver gathers; no files and no trackers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from components.records.accounting import Accounting
from components.reports.bound import Bound

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
class WorstRecord:
    """A record of a table that the model was most wrong about.

    Attributes:
        record_id: Its id.
        origin: Table and record number.
        true: What is true, as text.
        predicted: What the model said, as text.
        loss: Of this record.
        values: Column -> value, as text; None where it is missing.
    """

    record_id: str
    origin: str
    true: str
    predicted: str
    loss: float
    values: Mapping[str, str | None]


@dataclass(frozen=True)
class FindingCount:
    """What was found of one kind, and what was done about it.

    Attributes:
        reason: Reason code.
        action: repaired, quarantined, kept, merged or dropped.
        count: Findings of that kind.
        remedy: What a person can do about it.
        examples: Some of them in words.
    """

    reason: str
    action: str
    count: int
    remedy: str
    examples: Sequence[str] = ()


@dataclass(frozen=True)
class Values:
    """True and predicted numbers of some records of a split, in the original unit, (N,) each."""

    name: str
    true_N: npt.NDArray[np.float64]
    predicted_N: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """A prepared record: its columns as text, None where missing, and its picture if it has one."""

    values: Mapping[str, str | None]
    image_HWC: Image | None = None


@dataclass(frozen=True)
class ReportData:
    """Everything that a page on a run or a data set shows; an empty field leaves its section out.

    Attributes:
        title: Name of the run or recipe.
        run_id: MLflow run id.
        created_utc: When the run ended, ISO 8601.
        headline: Label -> text of the first numbers on the page, in order; at most six.
        accounting: Where the records went.
        quarantine_examples: Some of the records set aside.
        class_counts: Split -> class -> number of records.
        augmented: Originals beside their augmented views.
        findings: What was found in the data, by kind.
        samples: Some of the prepared records.
        schema_lines: What the columns hold, a line each.
        what: What the page is about: a run, or a data set.
        history: One mapping per epoch: `epoch` (from 0), `global_step` (steps done at its end),
            `train_loss`, `val_loss`, `train_accuracy`, `val_accuracy`, `val_f1_macro` or
            `train_rmse`, `val_rmse`, `val_mae`, and `learning_rate`, `records_per_s`,
            `data_wait_share` (0 to 1); a missing key leaves its curve out.
        kept: The row of `history` whose model was kept; None leaves the sentence out.
        monitor: Validation metric by which it was kept.
        steps: One mapping per logged step: `global_step`, `loss`, `learning_rate`.
        confusion: Split -> counts (K, K), rows true, columns predicted.
        classes: The K class names in the order of `confusion`.
        metrics: Split -> metric -> value.
        per_class: Split -> one mapping per class: `name`, `precision`, `recall`, `f1`, `support`,
            as `components.training.metrics` gives them.
        values: Split -> what a model of numbers predicts, of some records.
        mistakes: Pictures that were taken for another class, worst first.
        worst: Records of a table that the model was most wrong about, worst first.
        timings_s: Stage -> seconds.
        data_wait_share: Share of the training time spent waiting for data, 0 to 1.
        bound: What the training was bound by.
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
    findings: Sequence[FindingCount] = ()
    samples: Sequence[Sample] = ()
    schema_lines: Sequence[str] = ()
    what: str = "run"
    history: Sequence[Mapping[str, float]] = ()
    kept: Mapping[str, float] | None = None
    monitor: str = "accuracy"
    steps: Sequence[Mapping[str, float]] = ()
    confusion: Mapping[str, npt.NDArray[np.int64]] = field(default_factory=dict)
    classes: Sequence[str] = ()
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    per_class: Mapping[str, Sequence[Mapping[str, object]]] = field(default_factory=dict)
    values: Mapping[str, Values] = field(default_factory=dict)
    mistakes: Sequence[Mistake] = ()
    worst: Sequence[WorstRecord] = ()
    timings_s: Mapping[str, float] = field(default_factory=dict)
    data_wait_share: float = 0.0
    bound: Bound | None = None
    recipe_yaml: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    git_commit: str = ""

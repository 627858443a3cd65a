"""A realistic run to render: scikit-learn's digits with plausible curves."""

import dataclasses
import math

import numpy as np
from sklearn.datasets import load_digits

from components.records.accounting import Accounting
from components.reports.data import (
    AugmentedExample,
    FindingCount,
    Image,
    Mistake,
    QuarantineExample,
    ReportData,
    Values,
    WorstRecord,
)

CLASSES = [str(digit) for digit in range(10)]
SPLITS = {"train": 0.8, "val": 0.1, "test": 0.1}
EPOCHS = 20
STEPS_PER_EPOCH = 45

RECIPE = """\
name: digits
seed: 7
output: runs
data:
  source:
    kind: folder
    path: runs/digits-images
  clean:
    min_size_px: 8
    max_quarantined_share: 0.05
  split:
    val: 0.1
    test: 0.1
images:
  input:
    image_px: 32
    geometry: stretch
  augment:
    transforms:
    - Affine:
        rotate: [-12, 12]
        translate_percent: [-0.08, 0.08]
    - GaussNoise:
        p: 0.3
model:
  name: convnet
  width: 32
  depth: 3
train:
  epochs: 20
  batch_size: 32
  optimizer:
    name: adamw
    learning_rate: 0.003
    weight_decay: 0.05
  schedule:
    kind: cosine
    warmup_epochs: 1.0
"""


def images() -> Image:
    """The first 64 digits as uint8 (64, 8, 8, 3)."""
    grey = (load_digits().images[:64] * 15.9375).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=3)


def history() -> list[dict[str, float]]:
    rng = np.random.default_rng(3)
    rows: list[dict[str, float]] = []
    for epoch in range(EPOCHS):
        decay = math.exp(-epoch / 3.2)
        rows.append(
            {
                "epoch": epoch,
                "global_step": (epoch + 1) * STEPS_PER_EPOCH,
                "train_loss": 0.045 + 1.1 * decay + 0.01 * rng.random(),
                "val_loss": 0.068 + 0.9 * decay + 0.02 * rng.random() + 0.0008 * epoch,
                "train_accuracy": 0.991 - 0.38 * decay - 0.004 * rng.random(),
                "val_accuracy": 0.985 - 0.3 * decay - 0.01 * rng.random(),
                "val_f1_macro": 0.982 - 0.31 * decay - 0.01 * rng.random(),
                "learning_rate": 0.0015 * (1 + math.cos(math.pi * epoch / EPOCHS)),
                "records_per_s": 2900 + 220 * rng.random() - (900 if epoch == 0 else 0),
                "data_wait_share": 0.05 + 0.03 * rng.random() + (0.3 if epoch == 0 else 0),
            }
        )
    return rows


def steps() -> list[dict[str, float]]:
    rng = np.random.default_rng(4)
    total = EPOCHS * STEPS_PER_EPOCH
    rows = []
    for step in range(total):
        warm = min(1.0, (step + 1) / STEPS_PER_EPOCH)
        rate = 0.0015 * (1 + math.cos(math.pi * step / total)) * warm
        loss = (
            0.05 + 2.25 * math.exp(-step / 110) * (0.8 + 0.4 * rng.random()) + 0.05 * rng.random()
        )
        rows.append({"global_step": step, "loss": loss, "learning_rate": rate})
    return rows


def confusion() -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    matrix = np.diag(np.array([18, 17, 18, 17, 19, 18, 18, 17, 16, 17])).astype(np.int64)
    matrix[8, 1], matrix[9, 7], matrix[3, 8], matrix[5, 9] = 2, 1, 1, 1
    return matrix


def sample() -> ReportData:
    """The digits run, as a person would see it."""
    pictures = images()
    rng = np.random.default_rng(5)
    mistakes = [
        Mistake(
            f"{i:032x}", f"digits/{a}/{i:04d}.png", str(a), str(b), c, -math.log(1 - c), pictures[i]
        )
        for i, a, b, c in [
            (8, 8, 1, 0.97),
            (18, 8, 1, 0.92),
            (9, 9, 7, 0.88),
            (3, 3, 8, 0.71),
            (5, 5, 9, 0.64),
        ]
    ]
    return ReportData(
        title="digits",
        run_id="3f1c9a70b2d84e5f8a6b0c4d9e7f1a23",
        created_utc="2026-03-14 09:26 UTC",
        headline={
            "Test accuracy": "97.2 %",
            "Test F1 (macro)": "0.971",
            "Test loss": "0.089",
            "Images/s": "2,980",
            "Waiting for data": "6.8 %",
            "Total time": "1 min 12 s",
        },
        accounting=Accounting(
            read=1797,
            prepared=1789,
            quarantined=5,
            duplicates=3,
            quarantined_by_reason={"truncated": 3, "not_an_image": 1, "too_small": 1},
        ),
        quarantine_examples=[
            QuarantineExample(
                "digits/4/0412.png",
                "truncated",
                "the file ends after 312 of 410 bytes",
                "the file ends early; fetch it again",
            ),
            QuarantineExample(
                "digits/7/0093.png",
                "not_an_image",
                "starts with '<html>'",
                "the bytes are no known image format; remove the file from the source",
            ),
            QuarantineExample(
                "digits/1/1703.png",
                "too_small",
                "short side 6 px, limit 8 px",
                "lower data.clean.min_size_px if pictures this small are expected",
                pictures[1][:6],
            ),
        ],
        class_counts={
            split: {name: round(share * (178 + 3 * int(name) % 7)) for name in CLASSES}
            for split, share in SPLITS.items()
        },
        augmented=[
            AugmentedExample(
                f"{i:032x}", str(i), pictures[i], [_view(pictures[i], rng) for _ in range(7)]
            )
            for i in range(6)
        ],
        history=history(),
        kept=history()[-1],
        steps=steps(),
        confusion={"test": confusion(), "val": confusion()},
        classes=CLASSES,
        metrics={
            split: {
                "loss": loss,
                "accuracy": 0.985 - loss / 7,
                "precision_macro": 0.974,
                "recall_macro": 0.971,
                "f1_macro": 0.972,
            }
            for split, loss in (("val", 0.0712), ("test", 0.0891))
        },
        per_class={"test": scores(CLASSES)},
        mistakes=mistakes,
        timings_s={"prepare": 6.4, "train": 48.2, "evaluate": 4.1, "report": 1.3},
        data_wait_share=0.068,
        recipe_yaml=RECIPE,
        versions={
            "python": "3.11.7",
            "headrace": "0.1.0",
            "ray": "2.60.0",
            "torch": "2.13.0",
            "mlflow": "3.17.2",
            "albumentations": "2.0.8",
        },
        git_commit="9f2c1e7a5b3d4c6e8f0a1b2c3d4e5f6a7b8c9d0e",
    )


def scores(classes: list[str]) -> list[dict[str, object]]:
    rng = np.random.default_rng(6)
    return [
        {
            "name": name,
            "precision": 0.93 + 0.07 * rng.random(),
            "recall": 0.92 + 0.08 * rng.random(),
            "f1": 0.93 + 0.06 * rng.random(),
            "support": 18,
        }
        for name in classes
    ]


def _view(image: Image, rng: np.random.Generator) -> Image:
    shifted = np.roll(image, tuple(rng.integers(-1, 2, size=2)), axis=(0, 1))
    noisy = shifted.astype(np.float64) * (0.75 + 0.4 * rng.random()) + rng.normal(
        0, 9, shifted.shape
    )
    return np.clip(np.kron(noisy, np.ones((4, 4, 1))), 0, 255).astype(np.uint8)


def regression_sample() -> ReportData:
    """A model of house prices: figures, worst records and findings, no pictures."""
    rng = np.random.default_rng(7)
    true_N = rng.lognormal(12.2, 0.5, 4000)
    predicted_N = true_N * rng.normal(1.0, 0.15, 4000)
    rows = [
        {
            "epoch": float(epoch),
            "global_step": (epoch + 1) * 60.0,
            "train_loss": 0.1 + 0.8 * math.exp(-epoch / 2),
            "val_loss": 0.12 + 0.8 * math.exp(-epoch / 2),
            "train_rmse": 42_000 + 60_000 * math.exp(-epoch / 2),
            "val_rmse": 46_000 + 60_000 * math.exp(-epoch / 2),
            "val_mae": 31_000 + 45_000 * math.exp(-epoch / 2),
            "val_r2": 0.82 - 0.5 * math.exp(-epoch / 2),
            "learning_rate": 0.003,
            "records_per_s": 210_000.0,
            "data_wait_share": 0.1,
        }
        for epoch in range(12)
    ]
    worst = [
        WorstRecord(
            f"{number:032x}",
            f"housing.csv#{number + 17}",
            "500,001",
            f"{110_000 + 7000 * number:,}",
            6.2 - 0.4 * number,
            {"longitude": "-122.3", "total_rooms": "1,210", "ocean_proximity": None},
        )
        for number in range(6)
    ]
    metrics = {"loss": 0.17, "rmse": 47_312.4, "mae": 31_922.9, "r2": 0.8321}
    return dataclasses.replace(
        sample(),
        title="housing",
        headline={"test RMSE": "47,312", "test R²": "0.832", "records": "20,640"},
        class_counts={},
        augmented=(),
        history=rows,
        kept=rows[-1],
        monitor="rmse",
        steps=(),
        confusion={},
        per_class={},
        classes=(),
        mistakes=(),
        metrics={"val": metrics, "test": metrics},
        values={"test": Values("median_house_value", true_N, predicted_N)},
        worst=worst,
        findings=[
            FindingCount(
                "missing_value",
                "kept",
                207,
                "nothing to do where the value is not known",
                ["housing.csv total_bedrooms: 'NA' → missing"],
            ),
            FindingCount("outlier", "kept", 1412, "look at them <b>", []),
        ],
    )

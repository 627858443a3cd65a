"""Metrics equal scikit-learn's, however the rows are split."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    log_loss,
    precision_recall_fscore_support,
)

from components.training.metrics import ClassificationSums

NUM_CLASSES = 7


def rows(num_rows: int = 300, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and labels where class 5 is only predicted and class 6 never occurs."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, num_rows)
    logits = rng.normal(size=(num_rows, NUM_CLASSES))
    logits[np.arange(num_rows), labels] += 1.0
    logits[:, 6] = -9.0
    return torch.tensor(logits, dtype=torch.float32), torch.tensor(labels)


def summed(logits: torch.Tensor, labels: torch.Tensor) -> ClassificationSums:
    sums = ClassificationSums.zero(NUM_CLASSES)
    sums.update(logits, labels)
    return sums


def test_equal_to_sklearn() -> None:
    logits, labels = rows()
    predicted = logits.argmax(dim=1).numpy()
    metrics = summed(logits, labels).metrics()
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels, predicted, average="macro", zero_division=0
    )
    probabilities = logits.double().softmax(dim=1).numpy()
    assert metrics["accuracy"] == accuracy_score(labels, predicted)
    assert metrics["precision_macro"] == pytest.approx(precision, rel=1e-12)
    assert metrics["recall_macro"] == pytest.approx(recall, rel=1e-12)
    assert metrics["f1_macro"] == pytest.approx(f1, rel=1e-12)
    expected_loss = log_loss(labels, probabilities, labels=range(NUM_CLASSES))
    assert metrics["loss"] == pytest.approx(expected_loss, rel=1e-6)


def test_confusion_and_per_class_equal_sklearn() -> None:
    logits, labels = rows()
    predicted = logits.argmax(dim=1).numpy()
    sums = summed(logits, labels)
    expected = confusion_matrix(labels, predicted, labels=range(NUM_CLASSES))
    np.testing.assert_array_equal(sums.confusion_KK.numpy(), expected)
    scores = precision_recall_fscore_support(
        labels, predicted, labels=range(NUM_CLASSES), zero_division=0
    )
    names = [f"class {index}" for index in range(NUM_CLASSES)]
    for index, row in enumerate(sums.per_class(names)):
        assert row["name"] == names[index]
        got = (row["precision"], row["recall"], row["f1"], row["support"])
        assert got == pytest.approx(tuple(part[index] for part in scores), rel=1e-12)


@pytest.mark.parametrize("cuts", [[1], [150], [1, 2, 3, 299], [0, 300]])
def test_any_split_of_the_rows_gives_the_same(cuts: list[int]) -> None:
    logits, labels = rows()
    whole = summed(logits, labels)
    total = ClassificationSums.zero(NUM_CLASSES)
    for start, stop in zip([0, *cuts], [*cuts, 300], strict=True):
        total = total + summed(logits[start:stop], labels[start:stop])
    assert torch.equal(total.confusion_KK, whole.confusion_KK)
    assert total.loss_sum == pytest.approx(whole.loss_sum, rel=1e-12)
    assert total.count == 300


def test_padding_rows_do_not_count() -> None:
    logits, labels = rows(20)
    weights = torch.tensor([1.0] * 13 + [0.0] * 7)
    logits[13:] = math.nan
    sums = ClassificationSums.zero(NUM_CLASSES)
    sums.update(logits, labels, weights)
    expected = summed(logits[:13], labels[:13])
    assert torch.equal(sums.confusion_KK, expected.confusion_KK)
    assert sums.loss_sum == expected.loss_sum


def test_vector_round_trip_is_exact_for_large_counts() -> None:
    sums = ClassificationSums(torch.tensor([[2**52 + 1, 3], [0, 1]]), 0.1)
    vector = sums.to_tensor()
    assert vector.dtype == torch.float64 and vector.shape == (5,)
    back = ClassificationSums.from_tensor(vector)
    assert torch.equal(back.confusion_KK, sums.confusion_KK) and back.loss_sum == 0.1
    both = ClassificationSums.from_tensor(vector + torch.ones_like(vector))
    assert both.confusion_KK.tolist() == [[2**52 + 2, 4], [1, 2]]


def test_a_diverged_model_is_told() -> None:
    sums = ClassificationSums.zero(2)
    sums.update(torch.tensor([[math.nan, 0.0], [3.0, 0.0]]), torch.tensor([1, 0]))
    assert math.isnan(sums.metrics()["loss"]) and sums.metrics()["accuracy"] == 0.5


def test_wrong_input_is_refused() -> None:
    sums = ClassificationSums.zero(3)
    with pytest.raises(ValueError, match="metrics of no rows"):
        sums.metrics()
    with pytest.raises(ValueError, match=r"expected \(B, 3\)"):
        sums.update(torch.zeros(2, 4), torch.zeros(2, dtype=torch.int64))
    with pytest.raises((RuntimeError, IndexError), match="out of bounds"):
        sums.update(torch.zeros(1, 3), torch.tensor([3]))
    with pytest.raises(ValueError, match="2 class names for 3 classes"):
        sums.per_class(["a", "b"])
    with pytest.raises(ValueError, match=r"1 \+ K \* K"):
        ClassificationSums.from_tensor(torch.zeros(4))

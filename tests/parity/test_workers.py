"""The same training on any number of workers, and the same twice."""

from collections.abc import Callable

import pytest
import torch

from tests.parity.conftest import Outcome

Fit = Callable[..., Outcome]
pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]


def test_two_workers_equal_one_with_the_double_batch_and_a_seed_repeats_bitwise(fit: Fit) -> None:
    overrides = ["train.epochs=2"]
    one, again = fit(overrides), fit(overrides)
    two = fit(overrides, workers=2)

    assert one.digests == again.digests, "the same seed twice is bitwise equal on one worker"
    assert len(two.digests) == 2
    assert two.digests[0] == two.digests[1], "both ranks end with the same parameters"
    for name, parameter in one.parameters.items():
        torch.testing.assert_close(two.parameters[name], parameter, rtol=0, atol=1e-5)
    # 1,260 training records in steps of 64: 19 full ones and one of 44, kept.
    assert [row["records"] for row in two.trained.history] == [1260.0, 1260.0]
    assert two.trained.history[0]["global_step"] == 20
    for row_one, row_two in zip(one.trained.history, two.trained.history, strict=True):
        assert row_two["train_loss"] == pytest.approx(row_one["train_loss"], abs=1e-5)


def test_evaluation_counts_every_record_once_on_1_2_and_3_workers(fit: Fit) -> None:
    # With a learning rate of almost nothing all of them evaluate the same model.
    overrides = [
        "train.epochs=1",
        "train.optimizer.learning_rate=1e-12",
        "train.optimizer.weight_decay=0",
    ]
    rows = [fit(overrides, workers=workers).trained.history[0] for workers in (1, 2, 3)]
    exact = ("val_accuracy", "val_precision_macro", "val_recall_macro", "val_f1_macro")
    for row in rows[1:]:
        assert {name: row[name] for name in exact} == {name: rows[0][name] for name in exact}
        assert row["val_loss"] == pytest.approx(rows[0]["val_loss"], abs=1e-6)

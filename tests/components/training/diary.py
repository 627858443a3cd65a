"""A listener that keeps what it hears of epochs."""

from components.records.epoch_plan import Position
from components.training.loop import Listener


class Diary(Listener):
    """Keeps one row of metrics per epoch."""

    def __init__(self) -> None:
        self.history: list[dict[str, float]] = []

    def epoch(self, row: dict[str, float], position: Position) -> None:
        self.history.append(row)

"""What a training was bound by, and what to change."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WAIT_LIMIT = 0.05
"""Share of waiting for data that is not worth a change."""
_BUSY = 0.7
# Where the feed's tasks were busy for less of the time, it was not their work that was waited for.
_ADVICE = {
    "reading": "put the shards on a faster disk, or store smaller records",
    "decoding": (
        "more CPUs for Data, or smaller stored pictures: data.store.short_side_px somewhat above "
        "input.image_px, or data.store.format=raw, which needs no decoding"
    ),
    "augmenting": (
        "more CPUs for Data, or a lighter policy; one that is applied a batch at a time (see "
        "augment.engine) costs a fraction"
    ),
    "transfer": "a larger train.batch_size, or a larger cluster.object_store_bytes",
    "the model": "a faster device, a smaller model or input; the feed has room",
}
_STAGES = {"read": "reading", "decode": "decoding", "augment": "augmenting"}


@dataclass(frozen=True)
class Bound:
    """What a training was bound by.

    Attributes:
        by: reading, decoding, augmenting, transfer or the model.
        advice: What to change.
        feed_records_per_s: What the feed's processes could deliver, working all the time.
        trained_records_per_s: What the training took.
        shares: Stage of the feed -> its share of their work.
    """

    by: str
    advice: str
    feed_records_per_s: float
    trained_records_per_s: float
    shares: Mapping[str, float]

    def sentence(self) -> str:
        """All of it in words."""
        work = ", ".join(f"{name} {share:.0%}" for name, share in self.shares.items())
        return (
            f"Bound by {self.by}: the training took {self.trained_records_per_s:,.0f} records/s, "
            f"the feed's processes could deliver {self.feed_records_per_s:,.0f} (their work: "
            f"{work}). To go faster: {self.advice}."
        )


def find_bound(history: Sequence[Mapping[str, float]], data_cpus: int) -> Bound | None:
    """Say what the epochs of a training were bound by.

    Args:
        history: One row per epoch, with `records`, `records_per_s`, `data_wait_share` and the
            seconds `feed_read_s`, `feed_decode_s`, `feed_augment_s` of the feed's processes.
        data_cpus: Tasks of the feed that run at once.

    Returns:
        None where the feed's work was not measured.
    """
    records = sum(row["records"] for row in history)
    train_s = sum(row["records"] / row["records_per_s"] for row in history)
    spent_s = {
        name: sum(row.get(f"feed_{stage}_s", 0.0) for row in history)
        for stage, name in _STAGES.items()
    }
    work_s = sum(spent_s.values())
    if not work_s or not train_s:
        return None
    wait_s = sum(row["data_wait_share"] * row["records"] / row["records_per_s"] for row in history)
    if wait_s / train_s <= WAIT_LIMIT:
        by = "the model"
    elif work_s < _BUSY * data_cpus * train_s:
        by = "transfer"
    else:
        by = max(spent_s, key=spent_s.__getitem__)
    return Bound(
        by=by,
        advice=_ADVICE[by],
        feed_records_per_s=records * data_cpus / work_s,
        trained_records_per_s=records / train_s,
        shares={name: seconds / work_s for name, seconds in spent_s.items()},
    )

"""Which split a record belongs to: a pure function of its id and the seed."""

import hashlib
from typing import Literal, Self, get_args

from pydantic import Field, model_validator

from components.config import Config

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


class SplitConfig(Config):
    """How prepared records are divided into train, val and test."""

    method: Literal["hash", "stratified"] = "hash"
    """`hash`: a record's split follows from its id and the seed alone, so adding data never moves
    a record. `stratified`: exact shares in every class; gives up that stability (adding data can
    move records between splits) and keeps about 100 bytes per record on the driver. A split that
    the source itself names (train/, val/, test/ or a split column) always holds."""
    val: float = Field(0.1, ge=0.0, lt=1.0)
    """Share of the records used for validation."""
    test: float = Field(0.1, ge=0.0, lt=1.0)
    """Share of the records held out for the final test."""

    @model_validator(mode="after")
    def _leave_records_to_train_on(self) -> Self:
        if self.val + self.test >= 1.0:
            raise ValueError(
                f"val + test = {self.val + self.test:g} leaves no record to train on; "
                "make their sum smaller than 1"
            )
        return self


def split_position(record_id: str, seed: int) -> int:
    """Position of a record on the split axis: uniform in [0, 2**64), from (id, seed) alone."""
    digest = hashlib.blake2b(f"split/{seed}/{record_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def split_of(record_id: str, seed: int, *, val: float, test: float) -> Split:
    """Split of a record: test below `test`, val below `test + val`, train above."""
    position = split_position(record_id, seed) / 2**64
    if position < test:
        return "test"
    return "val" if position < test + val else "train"

"""Checkpoints: everything that makes a resumed training equal to one that never stopped."""

import hashlib
import os
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from components.errors import DataError, StorageError
from components.records.epoch_plan import Position
from components.training.parallel import unwrap

FILE_NAME = "checkpoint.pt"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Checkpoint:
    """A training as it stood at `position`; tensors lie on the CPU."""

    model_state: Mapping[str, torch.Tensor]
    """Parameters and buffers by name, without any DDP prefix."""
    optimizer_state: Mapping[str, Any]
    """As `Optimizer.state_dict()` gave it."""
    position: Position
    """What to do next."""
    history: list[dict[str, float]]
    """One row of metrics per finished epoch."""
    learned: tuple[float, ...] = ()
    """Sums over the epoch's steps that were done, over all ranks; empty at an epoch's start."""

    def restore(self, model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Put the state back, in place; `model` may be wrapped in DDP and on any device.

        Raises:
            DataError: The checkpoint belongs to another model or optimizer.
        """
        try:
            unwrap(model).load_state_dict(self.model_state)
            if optimizer is not None:
                optimizer.load_state_dict(dict(self.optimizer_state))
        except (RuntimeError, ValueError, KeyError) as error:
            raise DataError(
                f"the checkpoint at epoch {self.position.epoch} belongs to another model or "
                f"optimizer ({_first_line(error)}); resume with the recipe that wrote it, or "
                "start anew"
            ) from error


def save_checkpoint(
    folder: Path,
    *,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    position: Position,
    history: Sequence[Mapping[str, float]],
    learned: Sequence[float] = (),
) -> Path:
    """Write one file into `folder` (made if missing); it appears whole or not at all.

    Call it on one rank; the state of DDP is the same on all of them.

    Returns:
        The file written.

    Raises:
        StorageError: The disk is full or the folder cannot be written.
    """
    state = {
        "format": FORMAT_VERSION,
        "model": unwrap(model).state_dict(),
        "optimizer": optimizer.state_dict(),
        "position": asdict(position),
        "history": [dict(row) for row in history],
        "learned": list(learned),
    }
    target = Path(folder) / FILE_NAME
    partial = target.with_suffix(".partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    except (OSError, RuntimeError) as error:
        partial.unlink(missing_ok=True)
        raise StorageError(
            f"checkpoint {target} could not be written: {_first_line(error)}; "
            "free space or change `output`"
        ) from error
    return target


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read what `save_checkpoint` wrote; only tensors and plain containers are ever unpickled.

    Raises:
        DataError: The file is missing, damaged or of another format.
        StorageError: The file is there and cannot be read.
    """
    path = Path(folder) / FILE_NAME
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["format"] != FORMAT_VERSION:
            raise DataError(
                f"checkpoint {path} has format {state['format']}, this version reads "
                f"{FORMAT_VERSION}; train anew or use the version that wrote it"
            )
        return Checkpoint(
            model_state=state["model"],
            optimizer_state=state["optimizer"],
            position=Position(**state["position"]),
            history=state["history"],
            learned=tuple(state["learned"]),
        )
    except FileNotFoundError as error:
        raise DataError(f"no checkpoint at {path}; start without resume") from error
    except OSError as error:
        raise StorageError(
            f"checkpoint {path} cannot be read: {_first_line(error)}; check the mount and its "
            "permissions"
        ) from error
    except (RuntimeError, pickle.UnpicklingError, EOFError, KeyError, TypeError) as error:
        raise DataError(
            f"checkpoint {path} is damaged ({_first_line(error)}); remove it to resume from an "
            "older one, or start without resume"
        ) from error


def seed_step(seed: int, global_step: int, rank: int) -> None:
    """Seed torch's generators from (seed, global step, rank), for dropout and its like.

    A resumed training then draws what the uninterrupted one would have drawn, and no generator
    state needs to be saved. Call it before every training step of a model that draws.
    """
    key = f"{seed}/{global_step}/{rank}".encode()
    torch.manual_seed(int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") >> 1)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

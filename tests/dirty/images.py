"""A dirty folder of images with its truth, in class folders or in split folders."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np

from components.records.reasons import Reason
from components.records.split import SPLITS, Split
from tests.dirty.image_benign import odd_ones, plain_ones
from tests.dirty.image_copies import conflicts, copies, leaks
from tests.dirty.image_forms import converted
from tests.dirty.image_plants import unusable
from tests.dirty.studio import OUTSIDE, Benign, NewFile, Plant, Studio
from tests.dirty.truth import Defect, ImageTruth, Outcome, View

Layout = Literal["classes", "splits"]

_CAFE = unicodedata.normalize("NFC", "café")
CLASSES = ("barn", "field", "harbour", "street", _CAFE, "boat", "boats")
"""Right class names; `boat` and `boats` are two."""
VARIANTS = {
    "Street": "street",
    "field ": "field",
    " barn": "barn",
    unicodedata.normalize("NFD", "café"): _CAFE,
}
"""Folder name that differs by case, blanks or Unicode form -> the class that it means."""
EMPTY = ("quarry", "ruins")
"""Classes without a picture; the second holds a junk file."""
ONE_SPLIT: dict[str, Split] = {"lighthouse": "test", "windmill": "train"}
_PER_VARIANT, _PER_ONE_SPLIT = 3, 4


def make_dirty_images(
    folder: Path, seed: int, layout: Layout = "classes", num_clean: int = 225
) -> ImageTruth:
    """Write a dirty folder of images; the same seed gives the same bytes.

    Args:
        folder: Where to; made if it is not there.
        seed: Other seeds give other pictures, names and places.
        layout: `classes`: one folder per class. `splits`: train/, val/ and test/ with class
            folders in each, and leaks between them.
        num_clean: Clean pictures, benign oddities among them; fewer make a smaller folder, with
            all of the defects.

    Returns:
        What was planted.
    """
    studio = Studio(np.random.default_rng([seed, 0xD127]))
    writer = _Writer(folder, layout, np.random.default_rng([seed, 0x9ACE]))
    for plant in _plants(studio, layout):
        writer.plant(plant)
    _class_defects(writer)
    for benign in _benign(studio, layout, num_clean):
        writer.clean_file(benign)
    return writer.truth()


def _plants(studio: Studio, layout: Layout) -> list[Plant]:
    plants = unusable(studio) + converted(studio) + copies(studio)
    plants += conflicts(studio, ("street", "harbour"))
    return plants + (leaks(studio) if layout == "splits" else [])


def _benign(studio: Studio, layout: Layout, num_clean: int) -> Iterator[Benign]:
    """Odd ones first, then those of the odd class folders, then as many plain ones as fit."""
    plain = plain_ones(studio)
    labels: list[tuple[str, Split | None]] = [
        (name, "train") for name in VARIANTS for _ in range(_PER_VARIANT)
    ]
    if layout == "splits":
        labels += [(n, split) for n, split in ONE_SPLIT.items() for _ in range(_PER_ONE_SPLIT)]
    ones = odd_ones(studio)
    for (label, split), one in zip(labels, plain, strict=False):
        file = NewFile(one.file.name, one.file.data, label, split)
        ones.append(Benign(one.kind, file, one.view))
    return islice((one for group in (ones, plain) for one in group), num_clean)


def _class_defects(writer: "_Writer") -> None:
    """Folders whose names or contents are wrong; without the pictures in them."""
    for variant, name in VARIANTS.items():
        origins = writer.folders(variant, ("train",)) + writer.folders(name, SPLITS)
        writer.defect("class name variant", origins, Reason.CLASS_NAME_VARIANT, Outcome.MERGED)
    for name in EMPTY:
        (writer.root / writer.folders(name, ("train",))[0]).mkdir(parents=True, exist_ok=True)
        origins = writer.folders(name, ("train",))
        writer.defect("empty class", origins, Reason.EMPTY_CLASS, Outcome.FOLDER)
    writer.write(NewFile("Thumbs.db", bytes.fromhex("d0cf11e0a1b11ae1") + bytes(900)), EMPTY[1])
    if writer.layout == "splits":
        for name, split in ONE_SPLIT.items():
            origins = writer.folders(name, (split,))
            reason = Reason.CLASS_IN_ONE_SPLIT
            writer.defect("class in one split", origins, reason, Outcome.FOLDER)


@dataclass
class _Writer:
    """Gives files their places and writes down the truth about them."""

    root: Path
    layout: Layout
    rng: np.random.Generator
    defects: list[Defect] = field(default_factory=list)
    clean: dict[str, str] = field(default_factory=dict)
    classes: dict[str, str] = field(default_factory=dict)
    splits: dict[str, str] = field(default_factory=dict)
    views: dict[str, View] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)

    def plant(self, plant: Plant) -> None:
        """Write the files of a defect into one class and one split, unless they say otherwise."""
        label, split = self._any_class(), self._any_split()
        origins = tuple(self.write(file, label, split) for file in plant.files)
        self.defects.append(
            Defect(plant.kind, origins, plant.reasons, plant.outcome, plant.related, plant.view)
        )

    def clean_file(self, benign: Benign) -> None:
        """Write a clean file."""
        origin = self.write(benign.file, self._any_class(), self._any_split())
        self.clean[origin] = benign.kind
        if benign.view is not None:
            self.views[origin] = benign.view

    def defect(self, kind: str, origins: tuple[str, ...], reason: Reason, outcome: Outcome) -> None:
        """Write down a defect that concerns folders."""
        self.defects.append(Defect(kind, origins, frozenset({reason}), outcome))

    def folders(self, label: str, splits: tuple[Split, ...]) -> tuple[str, ...]:
        """The folders of a class, and its bare name."""
        if self.layout == "classes":
            return (label,)
        return (*[f"{split}/{label}" for split in splits], label)

    def write(self, file: NewFile, label: str, split: Split = "train") -> str:
        """Write one file; returns its origin."""
        label = label if file.label is None else file.label
        split = file.split or split
        parts: list[str] = [split] if self.layout == "splits" else []
        parts += [label] if label != OUTSIDE else []
        name = file.name if isinstance(file.name, bytes) else os.fsencode(file.name)
        relative = b"/".join([*map(os.fsencode, parts), name])
        path = os.path.join(os.fsencode(self.root), relative)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if file.data is None:
            os.symlink("/nowhere/at/all.jpg", path)
        else:
            with open(path, "xb") as stream:
                stream.write(file.data)
        origin = os.fsdecode(relative)
        self.files.add(origin)
        self.classes[origin] = VARIANTS.get(label, label)
        if self.layout == "splits":
            self.splits[origin] = split
        return origin

    def truth(self) -> ImageTruth:
        """What was written."""
        return ImageTruth(
            defects=tuple(self.defects),
            clean=frozenset(self.clean),
            benign={origin: kind for origin, kind in self.clean.items() if kind},
            classes=self.classes,
            splits=self.splits,
            files=frozenset(self.files),
            views=self.views,
        )

    def _any_class(self) -> str:
        return str(self.rng.choice(CLASSES))

    def _any_split(self) -> Split:
        return SPLITS[int(self.rng.choice(3, p=(0.6, 0.2, 0.2)))]


def counts_text(truth: ImageTruth) -> str:
    """How many of each kind, in words."""
    kinds = ", ".join(f"{number} {kind}" for kind, number in truth.num_by_kind.items())
    odd = ", ".join(f"{number} {kind}" for kind, number in Counter(truth.benign.values()).items())
    return f"{len(truth.defects)} defects: {kinds}; {len(truth.clean)} clean, of them {odd}"

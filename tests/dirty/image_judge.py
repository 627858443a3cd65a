"""Scores a run on a dirty folder of images."""

import posixpath
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from tests.dirty.outputs import Outputs, Row, account_problems, read_outputs, spellings
from tests.dirty.pictures import quarter_means
from tests.dirty.score import Score, Verdict
from tests.dirty.truth import Defect, ImageTruth, Outcome, View

_LOUD = ("warning", "error")


def judge_images(folder: Path, truth: ImageTruth) -> Score:
    """Score an output folder of `prepare` against what was planted.

    A defect is found where a row of the findings, the quarantine or the duplicates names it with
    a right reason code (and names another of its files, where it has several), and its files
    became what they had to.
    """
    outputs = read_outputs(folder)
    judge = _Judge(outputs, truth)
    return Score(
        title=f"images in {'splits' if truth.splits else 'classes'}",
        verdicts=tuple(judge.verdict(defect) for defect in truth.defects),
        num_clean=len(truth.clean),
        wrongly_aside=tuple(judge.wrongly_aside()),
        false_alarms=tuple(judge.false_alarms()),
        accounts=(*account_problems(outputs), *judge.lost()),
        notes=tuple(judge.unnamed()),
    )


class _Judge:
    def __init__(self, outputs: Outputs, truth: ImageTruth) -> None:
        self.outputs, self.truth = outputs, truth
        # An origin as the files may spell it -> as the truth does.
        known = [*truth.files, *(o for d in truth.defects for o in d.origins)]
        self._known = {way: origin for origin in known for way in spellings(origin)}
        self._prepared = {self._known.get(row.origin, row.origin): row for row in outputs.prepared}
        self._rows: dict[str, list[Row]] = defaultdict(list)
        for row in outputs.rows:
            self._rows[self._known.get(row.origin, row.origin)].append(row)

    def verdict(self, defect: Defect) -> Verdict:
        """What became of one defect."""
        problem = self._outcome_problem(defect)
        if not problem and defect.outcome is not Outcome.CONVERTED and not self._named(defect):
            problem = self._unnamed_problem(defect)
        prepared = [origin for origin in defect.origins if origin in self._prepared]
        return Verdict(
            kind=defect.kind,
            name=" | ".join(ascii(origin)[1:-1] for origin in defect.origins),
            found=not problem,
            repaired=not problem and defect.outcome in (Outcome.CONVERTED, Outcome.MERGED),
            silent=bool(problem and prepared and not self._named(defect)),
            problem=problem,
        )

    def wrongly_aside(self) -> Iterable[str]:
        """Clean files that are not prepared."""
        for origin in sorted(self.truth.clean - self._prepared.keys()):
            reasons = ", ".join(sorted({f"{r.place}: {r.reason}" for r in self._rows[origin]}))
            odd = self.truth.benign.get(origin, "plain")
            yield f"{origin!a} [{odd}] ({reasons or 'no word about it'})"

    def false_alarms(self) -> Iterable[str]:
        """Clean files that are warned of, carry a wrong label or split, or look wrong."""
        for origin in sorted(self.truth.clean):
            odd = self.truth.benign.get(origin, "plain")
            for row in self._rows[origin]:
                if row.place == "findings" and row.severity in _LOUD:
                    yield f"{origin!a} [{odd}]: {row.reason} {row.other or ''}"
            if (problem := self._view_problem(origin, self.truth.views.get(origin))) != "":
                yield f"{origin!a} [{odd}]: {problem}"
        yield from self._wrong_pairs()
        yield from self._label_problems()
        for origin, split in sorted(self.truth.splits.items()):
            row_or_none = self._prepared.get(origin)
            if origin in self.truth.clean and row_or_none and row_or_none.split != split:
                yield f"{origin!a}: lies in {split}, prepared for {row_or_none.split}"

    def _wrong_pairs(self) -> Iterable[str]:
        """Rows about a file that is not clean, which relate it to one that is."""
        for origin in sorted(self.truth.files - self.truth.clean):
            for row in self._rows[origin]:
                for other in row.other:
                    if self._known.get(other, other) in self.truth.clean:
                        yield f"{other!a} is said to be related to {origin!a}: {row.reason}"

    def lost(self) -> Iterable[str]:
        """Files of which nothing is said and that are not prepared."""
        for origin in sorted(self.truth.files):
            if origin not in self._prepared and not any(self._about(origin)):
                yield f"{origin!a} vanished"

    def unnamed(self) -> Iterable[str]:
        """Conversions that were right and are not written down."""
        for defect in self.truth.defects:
            if defect.outcome is Outcome.CONVERTED and not self._named(defect):
                yield f"{defect.kind}: {defect.origins[0]} was converted without a finding"

    def _about(self, origin: str) -> Iterable[Row]:
        """Rows about a file or a folder that it lies in."""
        yield from self._rows.get(origin, ())
        parent = posixpath.dirname(origin)
        while parent:
            yield from self._rows.get(parent, ())
            parent = posixpath.dirname(parent)

    def _named(self, defect: Defect) -> bool:
        for origin in defect.origins:
            others = set(defect.origins) - {origin}
            for row in self._about(origin):
                if row.reason not in defect.reasons:
                    continue
                if not defect.related or self._mentions(row, others):
                    return True
        return False

    def _mentions(self, row: Row, origins: set[str]) -> bool:
        return any(self._known.get(o, o) in origins for o in row.other) or any(
            origin in text for origin in origins for text in row.other
        )

    def _unnamed_problem(self, defect: Defect) -> str:
        said = {f"{row.reason}" for origin in defect.origins for row in self._about(origin)}
        wanted = " or ".join(sorted(defect.reasons))
        return f"not named {wanted}; said: {', '.join(sorted(said)) or 'nothing'}"

    def _outcome_problem(self, defect: Defect) -> str:
        prepared = [origin for origin in defect.origins if origin in self._prepared]
        outcome = defect.outcome
        if outcome is Outcome.ASIDE and prepared:
            return "it is among the prepared"
        if outcome is Outcome.KEPT and not prepared:
            return "it is not among the prepared"
        if outcome is Outcome.ONE_KEPT and len(prepared) != 1:
            return f"{len(prepared)} of {len(defect.origins)} are prepared"
        if outcome is Outcome.TOGETHER:
            splits = sorted({self._prepared[origin].split for origin in prepared})
            return f"in {' and '.join(splits)}" if len(splits) > 1 else ""
        if outcome is Outcome.CONVERTED:
            origin = defect.origins[0]
            if origin not in self._prepared:
                return f"it is not among the prepared ({self._unnamed_problem(defect)})"
            return self._view_problem(origin, defect.view)
        return self._merge_problem(defect) if outcome is Outcome.MERGED else ""

    def _merge_problem(self, defect: Defect) -> str:
        labels = {
            row.label
            for origin, row in self._prepared.items()
            if any(origin.startswith(f"{folder}/") for folder in defect.origins)
        }
        return f"labels {sorted(labels)}" if len(labels) > 1 else ""

    def _view_problem(self, origin: str, view: View | None) -> str:
        if view is None or origin not in self._prepared:
            return ""
        picture = self.outputs.picture(self._prepared[origin].origin)
        height_px, width_px = picture.shape[:2]
        if abs(width_px / height_px - view.width_px / view.height_px) > 0.1:
            return f"{width_px} x {height_px}, should be {view.width_px} x {view.height_px}"
        means = quarter_means(picture)
        difference = max(
            abs(got - right)
            for quarter, wanted in zip(means, view.quarters, strict=True)
            for got, right in zip(quarter, wanted, strict=True)
        )
        if difference > view.tolerance:
            return f"colours are off by {difference:.0f} of 255"
        return ""

    def _label_problems(self) -> Iterable[str]:
        """Clean records of one class under two labels, or of two classes under one."""
        labels: dict[str, set[str]] = defaultdict(set)
        classes: dict[str, set[str]] = defaultdict(set)
        for origin in self.truth.clean & self._prepared.keys():
            label, name = self._prepared[origin].label, self.truth.classes[origin]
            labels[name].add(label)
            classes[label].add(name)
        for name, found in sorted(labels.items()):
            if len(found) > 1:
                yield f"class {name!r} is prepared as {sorted(found)}"
        for label, names in sorted(classes.items()):
            if len(names) > 1:
                yield f"label {label!r} holds the classes {sorted(names)}"

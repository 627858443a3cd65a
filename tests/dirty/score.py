"""Scores by kind, and the text that shows them."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """What a judge says about one planted defect.

    Attributes:
        kind: Kind of the defect.
        name: Which one, for the list of those that were missed.
        found: It was named, and what had to become of it did.
        repaired: The original is back (tables: the exported cell; images: the right picture).
        silent: It went on in a wrong form and nothing was said.
        problem: Why it counts as missed; "" where it was found.
    """

    kind: str
    name: str
    found: bool
    repaired: bool = False
    silent: bool = False
    problem: str = ""


@dataclass(frozen=True)
class Score:
    """How a run did on one dirty data set.

    Attributes:
        title: Which data set.
        verdicts: One per planted defect.
        num_clean: Clean files or cells.
        wrongly_aside: Clean records that are not among the prepared ones, with the reason.
        false_alarms: Warnings and errors about what is clean, and clean cells that changed.
        accounts: What does not add up: counts, records that vanished or came out twice.
        notes: What is no fault and worth a look.
    """

    title: str
    verdicts: tuple[Verdict, ...]
    num_clean: int
    wrongly_aside: tuple[str, ...] = ()
    false_alarms: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def planted(self) -> int:
        """Planted defects."""
        return len(self.verdicts)

    @property
    def found(self) -> int:
        """Those that were found."""
        return sum(verdict.found for verdict in self.verdicts)

    @property
    def repaired(self) -> int:
        """Those whose original is back."""
        return sum(verdict.repaired for verdict in self.verdicts)

    @property
    def silent(self) -> tuple[str, ...]:
        """Those that went on wrongly with nothing said."""
        return tuple(f"{v.kind}: {v.name}" for v in self.verdicts if v.silent)

    @property
    def missed(self) -> tuple[str, ...]:
        """Those that were not found, with the reason."""
        return tuple(f"{v.kind}: {v.name} ({v.problem})" for v in self.verdicts if not v.found)

    def text(self, examples: int = 40) -> str:
        """A table by kind, then what went wrong.

        Args:
            examples: Most lines under each heading.
        """
        kinds = list(dict.fromkeys(verdict.kind for verdict in self.verdicts))
        rows = [self._row(kind, [v for v in self.verdicts if v.kind == kind]) for kind in kinds]
        rows.append(self._row("all", list(self.verdicts)))
        width = max(len(row[0]) for row in rows)
        head = ("kind", "planted", "found", "repaired", "silent")
        lines = [f"{self.title}: {self.found} of {self.planted} found, {self._faults()}"]
        for name, *numbers in (head, *rows):
            lines.append(f"  {name:<{width}}" + "".join(f"{number:>9}" for number in numbers))
        for heading, entries in (
            ("missed", self.missed),
            ("silently wrong", self.silent),
            ("clean and wrongly set aside", self.wrongly_aside),
            ("false alarms", self.false_alarms),
            ("accounts", self.accounts),
            ("notes", self.notes),
        ):
            lines += _listed(heading, entries, examples)
        return "\n".join(lines)

    def _faults(self) -> str:
        return (
            f"{self.repaired} repaired, {len(self.silent)} silently wrong, "
            f"{len(self.wrongly_aside)} of {self.num_clean} clean ones set aside, "
            f"{len(self.false_alarms)} false alarms, {len(self.accounts)} problems of accounts"
        )

    @staticmethod
    def _row(name: str, verdicts: list[Verdict]) -> tuple[str, str, str, str, str]:
        counts = (
            len(verdicts),
            sum(v.found for v in verdicts),
            sum(v.repaired for v in verdicts),
            sum(v.silent for v in verdicts),
        )
        planted, found, repaired, silent = map(str, counts)
        return name, planted, found, repaired, silent


def _listed(heading: str, entries: Iterable[str], examples: int) -> list[str]:
    all_entries = list(entries)
    if not all_entries:
        return []
    lines = [f"{heading} ({len(all_entries)}):"]
    lines += [f"  {entry}" for entry in all_entries[:examples]]
    more = len(all_entries) - examples
    return lines + ([f"  and {more} more"] if more > 0 else [])

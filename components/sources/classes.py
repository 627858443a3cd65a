"""Class names of a source: variants of one name, empty classes, classes that a split lacks."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from components.errors import DataError
from components.records.findings import Action, Finding
from components.records.reasons import REASONS, Policy, Reason, policy_of
from components.records.split import SPLITS, Split

_BLANK = r"\s\u200b\u2060\ufeff"
_AROUND = re.compile(rf"^[{_BLANK}]+|[{_BLANK}]+$")
_BETWEEN = re.compile(rf"(?<=[^\W_])[{_BLANK}_-]+(?=[^\W_])")


@dataclass(frozen=True)
class ClassCount:
    """Records of one class name in one place of the source.

    Attributes:
        name: As the source spells it.
        split: Split that the place belongs to, where the source names splits.
        num_records: Records that can be pictures.
        origin: The class folder, relative to the source; else the file that holds the label.
        column: Label column, where the name comes from one.
    """

    name: str
    split: Split | None
    num_records: int
    origin: str
    column: str | None = None


def merged_names(counts: Sequence[ClassCount]) -> dict[str, str]:
    """Class names that are another's variant -> that name.

    Variants differ only by case, by blanks around, by blanks, `_` or `-` between letters, or by
    Unicode normal form. Between digits a separator must stay one: `1 0` is not `10`. The name with
    the most records stays; of equals the one that sorts first. Single letters keep their case
    where most of them stand in both cases within one split: that is an alphabet.
    """
    totals = _totals(counts)
    alphabet = case_alphabet(counts)
    groups: dict[str, list[str]] = defaultdict(list)
    for name in totals:
        groups[_key(name, alphabet)].append(name)
    merged = {}
    for group in groups.values():
        kept = min(group, key=lambda name: (-totals[name], name))
        merged.update({name: kept for name in group if name != kept})
    return merged


def case_alphabet(counts: Sequence[ClassCount]) -> list[str]:
    """Single letters that are classes in both cases, where most single letters are."""
    by_split: dict[Split | None, set[str]] = defaultdict(set)
    for count in counts:
        name = unicodedata.normalize("NFC", count.name)
        if len(name) == 1 and name.isalpha():
            by_split[count.split].add(name)
    letters = set().union(*by_split.values())
    twins = {
        name
        for names in by_split.values()
        for name in names
        if name.swapcase() != name and name.swapcase() in names
    }
    return sorted(twins) if 2 * len(twins) > len(letters) else []


def class_findings(
    counts: Sequence[ClassCount], policy: Mapping[Reason, Policy]
) -> tuple[dict[str, str], list[Finding]]:
    """What is merged, and what there is to say about the classes.

    Args:
        counts: Every class name in every place, also those without records.
        policy: What the recipe chose; `keep` for class_name_variant leaves the names apart.

    Returns:
        Variant -> kept name, and the findings.
    """
    variants = merged_names(counts)
    merge = policy_of(Reason.CLASS_NAME_VARIANT, policy) is not Policy.KEEP
    names = variants if merge else {}
    findings = [
        *_variants(counts, variants, Action.MERGED if merge else Action.KEPT),
        *_alphabet(counts),
        *_empty(counts),
        *_in_one_split(counts, names),
    ]
    return names, findings


def refuse_stopped(findings: Sequence[Finding], policy: Mapping[Reason, Policy]) -> None:
    """Stop at the first finding for which the recipe says so.

    Raises:
        DataError: There is one.
    """
    for finding in findings:
        if policy_of(finding.reason, policy) is Policy.STOP:
            reason = finding.reason.value
            raise DataError(
                f"{finding.origin}: {reason}: {finding.detail}; {REASONS[finding.reason].remedy} "
                f"(data.clean.policy.{reason} = stop)"
            )


def _totals(counts: Sequence[ClassCount]) -> Counter[str]:
    totals: Counter[str] = Counter()
    for count in counts:
        totals[count.name] += count.num_records
    return totals


def _key(name: str, alphabet: list[str]) -> str:
    plain = _AROUND.sub("", unicodedata.normalize("NFC", name))
    if not (alphabet and len(plain) == 1):
        plain = unicodedata.normalize("NFC", plain.lower())
    has_digit = any(character.isdigit() for character in plain)
    return _BETWEEN.sub(" " if has_digit else "", plain)


def _difference(name: str, kept: str) -> str:
    one, other = (unicodedata.normalize("NFC", text) for text in (name, kept))
    if one == other:
        return "Unicode normal form"
    same_case = one.lower() == other.lower()
    return "upper and lower case" if same_case else "blanks, _ or -, or these and case"


def _variants(
    counts: Sequence[ClassCount], variants: Mapping[str, str], action: Action
) -> list[Finding]:
    places: dict[str, list[str]] = defaultdict(list)
    for count in counts:
        if count.column is None:
            places[count.name].append(count.origin)
    return [
        Finding(
            origin=count.origin,
            reason=Reason.CLASS_NAME_VARIANT,
            action=action,
            detail=f"{count.name!r} and {kept!r} differ only by {_difference(count.name, kept)}",
            other=tuple(places[kept]),
            column=count.column,
            before=count.name,
            after=kept if action is Action.MERGED else count.name,
            count=count.num_records,
        )
        for count in counts
        if count.num_records and (kept := variants.get(count.name)) is not None
    ]


def _alphabet(counts: Sequence[ClassCount]) -> list[Finding]:
    letters = case_alphabet(counts)
    if not letters:
        return []
    place = next(count for count in counts if count.name in letters)
    detail = f"{len(letters)} single letters are classes in both cases; they are no variants"
    return [
        Finding(
            origin=place.origin if place.column else ".",
            reason=Reason.CLASS_NAME_VARIANT,
            action=Action.KEPT,
            detail=detail,
            column=place.column,
            count=len(letters),
        )
    ]


def _empty(counts: Sequence[ClassCount]) -> list[Finding]:
    detail = "the class folder holds no picture"
    return [
        Finding(count.origin, Reason.EMPTY_CLASS, Action.KEPT, detail, before=count.name, count=0)
        for count in counts
        if not count.num_records
    ]


def _in_one_split(counts: Sequence[ClassCount], names: Mapping[str, str]) -> list[Finding]:
    given = {count.split for count in counts} - {None}
    filled: dict[str, list[ClassCount]] = defaultdict(list)
    for count in counts:
        if count.num_records:
            filled[names.get(count.name, count.name)].append(count)
    findings = []
    for name, places in sorted(filled.items()):
        (split, *others) = {place.split for place in places}
        if len(given) < 2 or others or split is None:
            continue
        lacking = " or ".join(s for s in SPLITS if s in given and s != split)
        num_records = sum(place.num_records for place in places)
        findings.append(
            Finding(
                origin=places[0].origin,
                reason=Reason.CLASS_IN_ONE_SPLIT,
                action=Action.KEPT,
                detail=f"class {name!r} is only in {split}, not in {lacking}",
                other=tuple(place.origin for place in places[1:] if not place.column),
                column=places[0].column,
                before=name,
                count=num_records,
            )
        )
    return findings

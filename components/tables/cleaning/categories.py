"""Category spellings that mean the same: which are variants, which misspelt, which is kept."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations, pairwise

from components.records.reasons import Reason
from components.tables.values.text_forms import tidy_name, undo_cp1252

_SEPARATOR = re.compile(r"(?<=[^\W_])[\s_\-./]+(?=[^\W_])")
_CLOSING = re.compile(r"[\s.,;:]+$")
_TOKEN = re.compile(r"[^\W_]+")
_DIGIT = re.compile(r"\d")

# Prefixes and words that turn a meaning round: `inactive` is no misspelt `active`.
_NEGATIONS = ("a", "an", "un", "in", "im", "il", "ir", "non", "dis", "de", "re", "mis", "ab")
_OPPOSITES = (
    ("north", "south"),
    ("east", "west"),
    ("hyper", "hypo"),
    ("inter", "intra"),
    ("in", "ex"),
    ("in", "out"),
    ("in", "un"),
    ("in", "de"),
    ("mini", "maxi"),
    ("over", "under"),
    ("pre", "pro"),
    ("macro", "micro"),
    ("with", "without"),
)

# Keys next to each other on QWERTY, QWERTZ and AZERTY: a slip of the finger.
_ROWS = ("qwertyuiop", "qwertzuiop", "azertyuiop", "asdfghjkl", "qsdfghjklm", "zxcvbnm", "yxcvbnm")
_NEIGHBOURS = {frozenset(pair) for row in _ROWS for pair in pairwise(row)}

# Cyrillic and Greek letters that look like Latin ones, of which each stands for one below.
_LOOKALIKES = str.maketrans("аеорсухіјѕкмнтвαονιρτκυε", "aeopcyxijskmhtbaoviptkue")

_RARE_SHARE = 0.02
_RARE_COUNT = 3
_FREQUENT_RATIO = 10
_DISTINCT_LIMIT = 20_000


@dataclass(frozen=True)
class LearnedMapping:
    """Which spelling becomes which.

    Attributes:
        mapping: Spelling, in the plain form of `tidy_name`, to the one that is kept. Spellings
            that stay are left out.
        reasons: For each spelling of `mapping`, CATEGORY_VARIANT or CATEGORY_MISSPELT.
    """

    mapping: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, Reason] = field(default_factory=dict)


def learn_mapping(counts: Mapping[str, int], *, known: Collection[str] = ()) -> LearnedMapping:
    """Learn from the spellings of a column and their counts which of them mean the same.

    Variants have the same `fold_key`; the most frequent spelling is kept (the first in order
    where several are). A misspelling is rare (at most 3, or 2 % of the right one, which is at
    least 10 times as frequent), one slip away from exactly one frequent spelling of four letters
    or more (two slips from 8 letters on), and differs in no digit; `iran` and `iraq`, `gambia` and
    `zambia`, `active` and `inactive`, `northeast` and `northwest`, or codes of one length are
    none. In a column of many rare names that resemble nothing, only long ones of frequent
    spellings are merged.

    The frequent ones are indexed by what is left of them with a letter taken out (SymSpell, W.
    Garbe 2012), so the work grows with the number of spellings, not with its square; beyond
    20,000 spellings only variants are merged.

    Args:
        counts: Spelling as written to its count; missing values left out.
        known: The right spellings, where the user has stated them; nothing else is merged into.
    """
    tidy: Counter[str] = Counter()
    for spelling, count in counts.items():
        tidy[tidy_name(undo_cp1252(spelling))] += count
    groups: dict[str, list[str]] = defaultdict(list)
    for spelling in sorted({*tidy, *known}):
        groups[fold_key(spelling)].append(spelling)
    kept = {key: _kept_spelling(group, tidy, known) for key, group in groups.items()}
    sizes = {key: sum(tidy[spelling] for spelling in group) for key, group in groups.items()}
    right = {key for key, group in groups.items() if not known or set(group) & set(known)}
    misspelt = dict(_misspellings(sizes, right, bool(known)))
    learned = LearnedMapping()
    for key, group in groups.items():
        target = kept[misspelt.get(key, key)]
        for spelling in group:
            if spelling == target or (known and spelling in known):
                continue
            if known and misspelt.get(key, key) not in right:
                continue
            learned.mapping[spelling] = target
            is_variant = key not in misspelt
            learned.reasons[spelling] = (
                Reason.CATEGORY_VARIANT if is_variant else Reason.CATEGORY_MISSPELT
            )
    return learned


def fold_key(spelling: str) -> str:
    """What the variants of a spelling share.

    Case, accents on Latin letters, compatibility forms (ﬁ, full width), and blanks, `_`, `-`,
    `/` and dots between letters do not count, nor do dots and commas at the end. Between two
    digits they do (`1-2` is not `12`), and so do signs at the ends (`A-` is not `A`). A Latin
    word with a Cyrillic or Greek letter that looks like a Latin one is that Latin word.
    """
    plain = _CLOSING.sub("", _without_accents(unicodedata.normalize("NFKC", spelling)).casefold())
    if not plain.isascii() and any("a" <= char <= "z" for char in plain):
        latin = plain.translate(_LOOKALIKES)
        plain = latin if latin.isascii() else plain
    return _SEPARATOR.sub(_joined, plain.strip()) or spelling


def _joined(separator: re.Match[str]) -> str:
    text, start, end = separator.string, separator.start(), separator.end()
    return " " if text[start - 1].isdigit() and text[end].isdigit() else ""


def _without_accents(text: str) -> str:
    """Only Latin letters lose their marks: in Japanese or Hindi a mark is another sound."""
    if text.isascii():
        return text
    letters: list[str] = []
    for char in unicodedata.normalize("NFD", text):
        is_mark = "\u0300" <= char <= "\u036f"
        if not (is_mark and letters and letters[-1].isascii()):
            letters.append(char)
    return unicodedata.normalize("NFC", "".join(letters))


def _kept_spelling(group: list[str], counts: Counter[str], known: Collection[str]) -> str:
    stated = [spelling for spelling in group if spelling in known]
    return min(stated or group, key=lambda spelling: (-counts[spelling], spelling))


def _misspellings(
    sizes: Mapping[str, int], right: Collection[str], is_known: bool
) -> Iterator[tuple[str, str]]:
    """Pairs of a misspelt key and the right one."""
    frequent = [
        key
        for key in right
        if len(key) >= 4 and (is_known or sizes[key] >= 10) and any(map(str.isalpha, key))
    ]
    if not frequent or len(sizes) > _DISTINCT_LIMIT or _are_codes(frequent, sizes):
        return
    index: dict[str, set[str]] = defaultdict(set)
    for key in frequent:
        for part in _shortened(key):
            index[part].add(key)
    most = max((sizes[key] for key in frequent), default=0)
    found: dict[str, str] = {}
    alone = 0
    for key in sizes:
        if (key in right) if is_known else sizes[key] > max(_RARE_COUNT, _RARE_SHARE * most):
            continue
        near = set().union(*(index.get(part, ()) for part in _shortened(key))) - {key}
        targets = [to for to in near if _is_slip(key, to, sizes[key], sizes[to], is_known)]
        if len(targets) == 1:
            found[key] = targets[0]
        elif sizes[key] <= _RARE_COUNT:
            alone += 1
    is_open = not is_known and alone > 3 * len(found) + 10
    for key, target in sorted(found.items()):
        if target in found:
            continue
        if not is_open or (len(key) >= 6 and sizes[target] >= 50 * sizes[key]):
            yield key, target


def _are_codes(keys: Collection[str], sizes: Mapping[str, int]) -> bool:
    """Short words all of one length, as airports or currencies: one letter makes another."""
    lengths = Counter(len(key) for key in sizes if sizes[key] >= 10)
    return len(keys) >= 4 and len(lengths) == 1 and max(lengths) <= 5


def _shortened(key: str) -> set[str]:
    """The key, and what is left of it with one letter (two in 8 to 30 letters) taken out."""
    parts = {key}
    for slips in range(1, 1 + _slips_allowed(len(key) + 1)):
        if slips == 2 and len(key) > 30:
            break
        for places in combinations(range(len(key)), slips):
            parts.add("".join(char for place, char in enumerate(key) if place not in places))
    return parts


def _slips_allowed(length: int) -> int:
    return 2 if length >= 8 else 1 if length >= 4 else 0


def _is_slip(key: str, target: str, count: int, target_count: int, is_known: bool) -> bool:
    """Whether `key` is `target` with a slip, going by the counts and by what differs."""
    if not is_known and (
        count > max(_RARE_COUNT, _RARE_SHARE * target_count)
        or target_count < _FREQUENT_RATIO * count
    ):
        return False
    if _numbered_words(key) != _numbered_words(target):
        return False
    if len(key) == 3 and len(target) == 4:
        return target_count >= 40 * count and _lacks_one_letter(key, target)
    slips = edit_distance(key, target)
    if not 0 < slips <= _slips_allowed(min(len(key), len(target))) or _turns_meaning(key, target):
        return False
    if slips == 2:
        is_clear = is_known or (count <= 2 and target_count >= 40 * count)
        return is_clear and key[0] == target[0] and not _has_other_syllable(key, target)
    return _is_likely_slip(key, target)


def _is_likely_slip(key: str, target: str) -> bool:
    """In short words another letter is mostly another word, unless its key lies beside."""
    if len(key) != len(target):
        return True
    changed = [place for place in range(len(key)) if key[place] != target[place]]
    if len(changed) == 2:
        return True
    place = changed[0]
    if place == 0 and len(key) < 7:
        return False
    return len(key) >= 7 or frozenset((key[place], target[place])) in _NEIGHBOURS


def _lacks_one_letter(key: str, target: str) -> bool:
    """Three letters are a slip only of a far more frequent word, and one left out inside."""
    return key in (target[:1] + target[2:], target[:2] + target[3:])


def _has_other_syllable(key: str, target: str) -> bool:
    """Two letters in a row exchanged, as in Slovakia and Slovenia, are seldom a slip."""
    changed = [place for place, char in enumerate(key) if char != target[place : place + 1]]
    return len(key) == len(target) and len(changed) == 2 and changed[1] == changed[0] + 1


def _numbered_words(key: str) -> list[str]:
    return [word for word in _TOKEN.findall(key) if _DIGIT.search(word)]


def _turns_meaning(key: str, target: str) -> bool:
    longer, shorter = sorted((key, target), key=len, reverse=True)
    if longer.endswith(shorter) and longer.removesuffix(shorter) in _NEGATIONS:
        return True
    return any(
        key.replace(one, other, 1) == target or key.replace(other, one, 1) == target
        for one, other in _OPPOSITES
    )


def edit_distance(first: str, second: str) -> int:
    """Optimal string alignment: letters put in, left out, exchanged, or two swapped, each one.

    Boytsov, Indexing methods for approximate dictionary searching (2011).
    """
    before: list[int] = []
    above = list(range(len(second) + 1))
    for row, char in enumerate(first, 1):
        line = [row]
        for column, other in enumerate(second, 1):
            cost = min(line[-1] + 1, above[column] + 1, above[column - 1] + (char != other))
            is_swap = row > 1 and column > 1 and char == second[column - 2]
            if is_swap and first[row - 2] == other:
                cost = min(cost, before[column - 2] + 1)
            line.append(cost)
        before, above = above, line
    return above[-1]

"""Which legacy encoding some bytes are in: the one under which the text reads like a language.

Every candidate decodes the same lines. A character counts for it where it stands as it would in a
language (its letter belongs to one alphabet together with the others, its case fits its
neighbours, its sign stands where such signs stand) and against it where it does not. That bytes
can be decoded says nothing: under most of these encodings all bytes can.
"""

from collections import Counter
from dataclasses import dataclass

CANDIDATES = (
    "cp1252",
    "iso8859_15",
    "cp1250",
    "iso8859_2",
    "cp1251",
    "koi8_r",
    "cp866",
    "mac_roman",
    "cp850",
    "cp1254",
    "cp1253",
    "cp1257",
    "cp1255",
    "cp1256",
    "cp932",
    "euc_jp",
    "euc_kr",
    "gb18030",
    "big5",
)
"""Encodings that are told apart, in the order in which they are preferred where nothing tells."""

_CLEARLY_BETTER = 0.3  # than cp1252, per character that differs

_LATIN: dict[str, str] = {
    "French": "àâæçéèêëîïôœùûüÿ",
    "German": "äöüßé",
    "Spanish": "áéíñóúü",
    "Portuguese": "áâãàçéêíóôõúü",
    "Italian": "àèéìíîòóùú",
    "Danish": "æøåéöäü",
    "Swedish": "åäöéü",
    "Finnish": "äöåšž",
    "Icelandic": "áðéíóúýþæö",
    "Dutch": "éëïóöüèá",
    "Catalan": "àçèéíïòóúü",
    "Polish": "ąćęłńóśźż",
    "Czech": "áčďéěíňóřšťúůýž",
    "Slovak": "áäčďéíĺľňóôŕšťúýž",
    "Hungarian": "áéíóöőúüű",
    "Croatian": "čćđšž",
    "Romanian": "ăâîșțşţ",
    "Turkish": "çğıİöşüâîû",
    "Lithuanian": "ąčęėįšųūž",
    "Latvian": "āčēģīķļņšūž",
    "Estonian": "äõöüšž",
}
# Of other scripts all letters belong to the alphabet, but the frequent ones must be frequent.
_FREQUENT = frozenset("оеаинтсрвлкмдпуяыьгзαοιετσνηυρπκμλςωάίόέήיוהלאמרבתשالبتمنويرسدهعة")

_SIGNS = frozenset(
    "€£¥¢§«»“”„\u2018\u2019\u201a\u2013—…·•©®™¿¡¹²³º ª°±\u00d7÷½¼¾µ¶\u00a0\u00ad"
    "、。「」・《》\uff0c\uff1a\uff1b\uff08\uff09\uff01\uff1f\u3000"
)
_JOINS_LETTERS = frozenset("\u2019\u2018'\u00b4·\u2013-\u00a0\u00ad")
_BEFORE_WORDS = frozenset("¿¡«“„")
_AFTER_LETTERS = frozenset("²³¹®™©ªº»”\u2019…")

# Where the frequent characters stand, by the first byte: what is written in simplified Chinese is
# seldom of the second level, and hardly ever of none.
_FIRST_LEVELS = {
    "gb18030": ("gb2312", 0xB0, 0xD7),
    "cp932": ("euc_jp", 0xB0, 0xCF),
    "euc_jp": ("euc_jp", 0xB0, 0xCF),
    "big5": ("big5", 0xA4, 0xC6),
}


@dataclass(frozen=True)
class Charset:
    """An encoding and how well text reads under it.

    Attributes:
        name: Python's name of the encoding.
        score: Mean over the characters that are not ASCII, -3 to 1.
    """

    name: str
    score: float


def best_charset(evidence: bytes) -> Charset:
    """The encoding under which bytes read best; cp1252 where no other reads clearly better.

    Args:
        evidence: Whole lines that hold bytes of 0x80 and more.
    """
    fits = {name: _fits(evidence, name) for name in CANDIDATES}
    scores = {name: sum(fit.values()) / max(len(fit), 1) for name, fit in fits.items()}
    western = CANDIDATES[0]
    best = max(CANDIDATES, key=scores.__getitem__)
    differing = {place for place in fits[best] if fits[best][place] != fits[western].get(place)}
    gain = sum(fits[best][place] - fits[western].get(place, -1.0) for place in differing)
    if not differing or gain / len(differing) < _CLEARLY_BETTER:
        best = western
    return Charset(best, scores[best])


def _fits(evidence: bytes, name: str) -> dict[int, float]:
    """How well each character that is not ASCII stands; by its place in the text.

    Places agree between encodings of one byte per character, where one sign in a thousand
    letters can be all that tells them apart.
    """
    text = evidence.decode(name, "replace")
    letters = Counter(_lower(c) for c in text if c > "\x7f" and c.isalpha() and c < "\u0250")
    alphabet = _best_alphabet(letters)
    is_japanese = name in ("cp932", "euc_jp")
    ideograph = 0.9 if not is_japanese or any("\u3040" <= c <= "\u30ff" for c in text) else 0.6
    padded = f" {text} "
    return {
        place: min(ideograph, fit) if is_japanese and char >= "\u4e00" else fit
        for place, char in enumerate(text)
        if char > "\x7f"
        for fit in (_fit(padded[place], char, padded[place + 2], alphabet, name),)
    }


def _lower(char: str) -> str:
    lower = char.lower()
    return lower if len(lower) == 1 else char  # I with a dot becomes two characters


def _best_alphabet(letters: Counter[str]) -> frozenset[str]:
    """Of all languages' letters beyond ASCII, those that cover most of the given."""
    covered = {
        alphabet: sum(count for letter, count in letters.items() if letter in alphabet)
        for alphabet in _LATIN.values()
    }
    best = max(covered, key=lambda alphabet: covered[alphabet])
    return frozenset(best)


def _fit(before: str, char: str, after: str, alphabet: frozenset[str], name: str) -> float:
    """How well a character that is not ASCII stands where it stands."""
    if char == "\ufffd" or char < "\xa0" or "\ue000" <= char <= "\uf8ff":
        return -3.0
    if char >= "\u2e80" and (char.isalpha() or char == "ー"):
        return _fit_ideograph(before, char, after, name)
    if char.isalpha() and char not in "ªºµ":
        return _fit_letter(before, char, after, alphabet)
    return _fit_sign(before, char, after)


def _fit_letter(before: str, char: str, after: str, alphabet: frozenset[str]) -> float:
    is_latin = char < "\u0250"
    if any(c.isalpha() and (c < "\u0250") != is_latin for c in (before, after)):
        return -1.5
    if char.isupper() and (before.islower() or (before.isalpha() and after.islower())):
        return -1.5
    if char.islower() and after.isupper():
        return -1.0
    if not before.isalpha() and not after.isalpha():
        return 0.2  # alone, as a sign would stand
    lower = _lower(char)
    if is_latin and min(before, after) > "\x7f":
        return 0.0  # three in a row: in few languages, and seldom (`žížala`, `öğüt`)
    if not is_latin:
        return 1.0 if lower in _FREQUENT else 0.4
    if lower in alphabet:
        return 1.0
    return 0.25 if any(lower in letters for letters in _LATIN.values()) else -0.5


def _fit_sign(before: str, char: str, after: str) -> float:
    if char not in _SIGNS:
        return -0.5
    if before.isalpha() and after.isalpha():
        return 0.9 if char in _JOINS_LETTERS else -1.0
    if char in _BEFORE_WORDS:
        return 0.9 if after.isalnum() and not before.isalnum() else -0.5
    if before.isalpha():
        return 0.9 if char in _AFTER_LETTERS else -0.2
    return 0.9


def _fit_ideograph(before: str, char: str, after: str, name: str) -> float:
    if any(c.isascii() and c.isalpha() for c in (before, after)):
        return -1.0
    if not any(c >= "\u2e80" for c in (before, after)):
        return 0.3
    if "\uff61" <= char <= "\uff9f":  # half-width katakana: any byte of A1 to DF in cp932
        return 0.1
    if "\u3040" <= char <= "\u30ff" or "\uac00" <= char <= "\ud7a3":
        return 1.0
    if char > "\uffff":
        return -1.0
    return 0.9 if _is_frequent(char, name) else 0.2


def _is_frequent(char: str, name: str) -> bool:
    """Whether a character is of the first level of the standard behind an encoding."""
    own = _FIRST_LEVELS.get(name)
    for standard, first, last in (own,) if own else _FIRST_LEVELS.values():
        code = char.encode(standard, "ignore")
        if len(code) == 2 and first <= code[0] <= last:
            return True
    return False

"""Rows whose values do not stand under their columns: one place on, torn apart, swapped."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import polars as pl

from components.tables.schema import RAW_RECORD

Judge = Callable[[pl.DataFrame], pl.DataFrame]
"""From rows of texts under their columns to one row each of `misfits`, how many cells cannot
belong to their column (unreadable, unknown category, outside of the plausible values),
`unreadable`, how many of these cannot be read at all, and `strength`, how many certainly belong
there."""

LARGEST_DIFFERENCE = 2
"""Fields too few or too many up to which a row is realigned."""

_WIDEST_FOR_PAIRS = 24
_CANDIDATES_AT_ONCE = 200_000
_JOINED_AT_BLANK = 1
_LONGEST_SPLIT = 30


@dataclass(frozen=True)
class Alignment:
    """A way to lay the fields of a row under the columns.

    Attributes:
        sources: For each column the positions of the fields that make it: none for a missing
            value, several where the delimiter stood inside of the value.
        dropped: Positions of the fields that must be empty, as nothing takes them.
        detail: In words.
        cuts: Whether values may have been lost at the end of the row.
        split: Column whose value has grown together with the next one's, and its length.
        is_move: Whether it only moves all values from one column on.
    """

    sources: tuple[tuple[int, ...], ...]
    dropped: tuple[int, ...]
    detail: str
    cuts: bool = False
    split: tuple[int, int] | None = None
    is_move: bool = False


def realign(
    rows: pl.DataFrame,
    columns: Sequence[str],
    judge: Judge,
    delimiter: str = ",",
    splittable: Sequence[int] = (),
) -> pl.DataFrame:
    """Lay the fields of ragged rows under the columns, where there is exactly one good way.

    Every way is tried: a value left out at each place, an empty field too many, a value with the
    delimiter inside (`Smith, John`; a decimal comma in a comma file). A row is realigned if in
    one way every cell fits its column and in no other; of several, the one whose cells more
    certainly fit, by the judge's count and blanks after the delimiter, is taken. Where nothing
    fits and one field lacks, two values may have grown together: each place to cut them is tried.

    Args:
        rows: RAW_RECORD and `fields`, list of Utf8: all fields as read.
        columns: Names of the columns.
        judge: Tells how well texts fit.
        delimiter: What the fields were separated by.
        splittable: Positions of the columns whose value can be told from the next one's.

    Returns:
        RAW_RECORD, the columns (Utf8) and `detail`, of the rows that could be realigned.
    """
    counted = rows.with_columns(num_fields=pl.col("fields").list.len())
    realigned = [_nothing(rows, columns)]
    for (count,), part in counted.partition_by("num_fields", as_dict=True).items():
        assert isinstance(count, int)
        ways = list(ragged_alignments(count, columns))
        best, hopeless, _ = _best(part, ways, columns, judge, delimiter)
        realigned.append(best)
        if count == len(columns) - 1 and splittable:
            ways = list(split_alignments(columns, splittable))
            realigned.append(_best(hopeless, ways, columns, judge, delimiter)[0])
    return pl.concat(realigned)


def unshift(
    rows: pl.DataFrame, columns: Sequence[str], judge: Judge
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Put back values that sit beside their columns in rows with the right number of fields.

    Tried are: everything from one column on moved one or two places right or left (an empty cell
    stands where the move began or ended), the row rotated by one, two cells swapped. Taken is the
    one way in which every cell fits. Where only one cell misfits, moves alone are tried, and have
    to bring more cells under columns in which they certainly belong.

    Args:
        rows: RAW_RECORD and the columns as texts, of rows in which a cell misfits.
        columns: Names of the columns.
        judge: Tells how well texts fit.

    Returns:
        RAW_RECORD, the columns and `detail`, of the rows that were put right; RAW_RECORD of those
        that several moves would put right.
    """
    judged = judge(rows.select(columns))
    fields = rows.select(
        RAW_RECORD, fields=pl.concat_list(pl.col(columns)), least=judged["strength"] + 1
    )
    alone = judged["misfits"] == 1
    ways = list(shift_alignments(columns))
    moves = [way for way in ways if way.is_move]
    several = fields.filter(~alone).with_columns(least=pl.lit(0, pl.Int32))
    parts = [
        _best(several, ways, columns, judge, ""),
        _best(fields.filter(alone), moves, columns, judge, ""),
    ]
    return pl.concat([part[0] for part in parts]), pl.concat([part[2] for part in parts])


def ragged_alignments(num_fields: int, columns: Sequence[str]) -> Iterator[Alignment]:
    """Ways to lay `num_fields` fields under the columns; none where too many differ."""
    width = len(columns)
    difference = num_fields - width
    if difference == 0 or abs(difference) > LARGEST_DIFFERENCE:
        return
    if difference < 0:
        for missing in _places(width, -difference):
            sources = _spread(width, set(missing))
            names = ", ".join(repr(columns[place]) for place in missing)
            cuts = max(missing) == width - 1
            yield Alignment(sources, (), f"{num_fields} fields; {names} left out", cuts)
        return
    for num_dropped in range(difference + 1):
        for dropped in _places(num_fields, num_dropped):
            kept = [place for place in range(num_fields) if place not in dropped]
            for joints in _places(width + difference - num_dropped - 1, difference - num_dropped):
                sources = _joined(kept, set(joints))
                yield Alignment(sources, dropped, _words(num_fields, dropped, sources, columns))


def split_alignments(columns: Sequence[str], splittable: Sequence[int]) -> Iterator[Alignment]:
    """Ways to cut one field into the values of two columns next to each other."""
    width = len(columns)
    for place in splittable:
        sources = [(other if other <= place else other - 1,) for other in range(width)]
        names = f"{columns[place]!r} and {columns[place + 1]!r}"
        for length in range(1, _LONGEST_SPLIT):
            detail = f"{width - 1} fields; {names} had grown together"
            yield Alignment(tuple(sources), (), detail, split=(place, length))


def shift_alignments(columns: Sequence[str]) -> Iterator[Alignment]:
    """Ways in which the right number of fields can stand under the wrong columns."""
    width = len(columns)
    straight = [(place,) for place in range(width)]
    for step in (1, 2):
        for start in range(width - step):
            name = repr(columns[start])
            right = [*straight[:start], *straight[start + step :], *[()] * step]
            dropped = tuple(range(start, start + step))
            words = f"values from {name} on were {step} too far"
            yield Alignment(tuple(right), dropped, f"{words} right", is_move=True)
            left = [*straight[:start], *[()] * step, *straight[start : width - step]]
            end = tuple(range(width - step, width))
            yield Alignment(tuple(left), end, f"{words} left", is_move=True)
    if width > 2:
        yield Alignment((*straight[1:], straight[0]), (), "the last value stood first")
        yield Alignment((straight[-1], *straight[:-1]), (), "the first value stood last")
    for one, other in combinations(range(width), 2):
        if other == one + 1 or width <= _WIDEST_FOR_PAIRS:
            swapped = list(straight)
            swapped[one], swapped[other] = swapped[other], swapped[one]
            names = f"{columns[one]!r} and {columns[other]!r}"
            yield Alignment(tuple(swapped), (), f"{names} were swapped")


def _places(width: int, count: int) -> Iterator[tuple[int, ...]]:
    if count < 2 or width <= _WIDEST_FOR_PAIRS:
        yield from combinations(range(width), count)
    else:
        yield from ((place, place + 1) for place in range(width - 1))


def _spread(width: int, missing: set[int]) -> tuple[tuple[int, ...], ...]:
    places = iter(range(width))
    return tuple(() if column in missing else (next(places),) for column in range(width))


def _joined(kept: Sequence[int], joints: set[int]) -> tuple[tuple[int, ...], ...]:
    """The kept fields, those after a joint glued to the one before."""
    groups = [[kept[0]]]
    for position, place in enumerate(kept[1:]):
        if position in joints:
            groups[-1].append(place)
        else:
            groups.append([place])
    return tuple(tuple(group) for group in groups)


def _words(
    num_fields: int,
    dropped: tuple[int, ...],
    sources: tuple[tuple[int, ...], ...],
    columns: Sequence[str],
) -> str:
    torn = [repr(name) for name, source in zip(columns, sources, strict=True) if len(source) > 1]
    parts = [f"{num_fields} fields"]
    if torn:
        parts.append(f"the delimiter stands inside of {', '.join(torn)}")
    if dropped:
        parts.append(f"empty field at place {', '.join(str(place + 1) for place in dropped)}")
    return "; ".join(parts)


def _best(
    rows: pl.DataFrame,
    alignments: Sequence[Alignment],
    columns: Sequence[str],
    judge: Judge,
    delimiter: str,
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Rows laid in their one good way, those that have none at all, and those with several moves.

    Rows with a column `least` are laid only in ways of that strength.
    """
    if rows.is_empty() or not alignments:
        return _nothing(rows, columns), rows.clear(), rows.clear().select(RAW_RECORD)
    # Blank and missing are one: else two ways that differ in nothing else would be two.
    element = pl.element()
    filled = pl.when(element.str.strip_chars() != "").then(element)
    rows = rows.with_columns(fields=pl.col("fields").list.eval(filled))
    at_once = max(1, _CANDIDATES_AT_ONCE // len(alignments))
    fitting = [
        _fitting(rows.slice(start, at_once), alignments, columns, judge, delimiter)
        for start in range(0, rows.height, at_once)
    ]
    fits = pl.concat(fitting)
    if "least" in rows.columns:
        least = rows.select(RAW_RECORD, "least")
        fits = fits.join(least, on=RAW_RECORD, maintain_order="left")
        fits = fits.filter(pl.col("strength") >= pl.col("least"))
    # Two ways that give the same cells are one.
    distinct = fits.unique([RAW_RECORD, *columns], keep="first", maintain_order=True)
    top = distinct.filter(pl.col("strength") == pl.col("strength").max().over(RAW_RECORD))
    alone = top.filter((pl.len().over(RAW_RECORD) == 1) & ~pl.col("cuts"))
    hopeless = rows.join(fits, on=RAW_RECORD, how="anti", maintain_order="left")
    open_moves = (
        top.group_by(RAW_RECORD, maintain_order=True)
        .agg(pl.len(), pl.col("is_move").all())
        .filter((pl.col("len") > 1) & pl.col("is_move"))
    )
    return alone.select(RAW_RECORD, *columns, "detail"), hopeless, open_moves.select(RAW_RECORD)


def _fitting(
    rows: pl.DataFrame,
    alignments: Sequence[Alignment],
    columns: Sequence[str],
    judge: Judge,
    delimiter: str,
) -> pl.DataFrame:
    """All ways in which every cell fits."""
    laid = pl.concat([_laid(rows, alignment, columns, delimiter) for alignment in alignments])
    judged = pl.concat([laid, judge(laid.select(columns))], how="horizontal")
    return judged.filter(pl.col("misfits") == 0).with_columns(
        strength=pl.col("strength") + pl.col("at_blank") * _JOINED_AT_BLANK
    )


def _laid(
    rows: pl.DataFrame, alignment: Alignment, columns: Sequence[str], delimiter: str
) -> pl.DataFrame:
    """The rows under their columns in one way, without those that it would take a value from."""
    field = pl.col("fields")
    spare = [
        field.list.get(place).fill_null("").str.strip_chars() == "" for place in alignment.dropped
    ]
    joints = [place for source in alignment.sources for place in source[1:]]
    # A field that is dropped or joined at an empty end is another way, with another name.
    filled = [
        field.list.get(place).fill_null("").str.strip_chars() != ""
        for source in alignment.sources
        if len(source) > 1
        for place in source
    ]
    blanks = [
        field.list.get(place).fill_null("").str.contains(r"^\s\S").cast(pl.Int32)
        for place in joints
    ]
    if alignment.split is not None:
        place, length = alignment.split
        filled.append(field.list.get(place).str.len_chars() > length)
    kept = rows.filter(*spare, *filled) if spare or filled else rows
    cells = [
        _cell(source, delimiter).alias(name)
        for name, source in zip(columns, alignment.sources, strict=True)
    ]
    if alignment.split is not None:
        glued = field.list.get(place)
        cells[place] = glued.str.slice(0, length).alias(columns[place])
        cells[place + 1] = glued.str.slice(length).alias(columns[place + 1])
    return kept.select(
        RAW_RECORD,
        *cells,
        at_blank=pl.sum_horizontal(blanks) if blanks else pl.lit(0, pl.Int32),
        detail=pl.lit(alignment.detail),
        cuts=pl.lit(alignment.cuts),
        is_move=pl.lit(alignment.is_move),
    )


def _cell(source: tuple[int, ...], delimiter: str) -> pl.Expr:
    if not source:
        return pl.lit(None, pl.Utf8)
    fields = [pl.col("fields").list.get(place) for place in source]
    return fields[0] if len(fields) == 1 else pl.concat_str(fields, separator=delimiter)


def _nothing(rows: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    schema = {name: pl.Utf8() for name in (*columns, "detail")}
    return pl.DataFrame(schema={RAW_RECORD: rows.schema[RAW_RECORD], **schema})

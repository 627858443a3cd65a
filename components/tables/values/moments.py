"""What stands in a cell that may be a date: day, month, year, clock, zone, serial number."""

import polars as pl

_MONTHS = (
    ("january", "jan", "januar", "jänner", "janvier", "janv", "enero", "ene"),
    ("february", "feb", "februar", "février", "fevrier", "févr", "fevr", "febrero"),
    ("march", "mar", "märz", "maerz", "mär", "mrz", "mars", "marzo"),
    ("april", "apr", "avril", "avr", "abril", "abr"),
    ("may", "mai", "mayo"),
    ("june", "jun", "juni", "juin", "junio"),
    ("july", "jul", "juli", "juillet", "juil", "julio"),
    ("august", "aug", "août", "aout", "agosto", "ago"),
    ("september", "sep", "sept", "septembre", "septiembre", "set"),
    ("october", "oct", "oktober", "okt", "octobre", "octubre"),
    ("november", "nov", "novembre", "noviembre"),
    ("december", "dec", "dezember", "dez", "décembre", "decembre", "déc", "diciembre", "dic"),
)
_MONTH_NUMBERS = {
    name: str(number) for number, names in enumerate(_MONTHS, start=1) for name in names
}
_WEEKDAYS = (
    r"(?:mon|tues?|wed(?:nes)?|thu(?:rs?)?|fri|satur|sat|sun)(?:day)?|montag|dienstag|mittwoch"
    r"|donnerstag|freitag|samstag|sonntag|mo|di|mi|do|fr|sa|so|lundi|mardi|mercredi|jeudi|vendredi"
    r"|samedi|dimanche|lunes|martes|miércoles|jueves|viernes|sábado|domingo"
)
_NAME = "(" + "|".join(sorted(_MONTH_NUMBERS, key=len, reverse=True)) + r")\.?"
_TIME = (
    r"^(?P<day_part>.*?\d)(?:t|\s+|\s*,\s*)(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<sec>\d{2})"
    r"(?:[.,](?P<fraction>\d{1,9}))?)?\s*(?P<half>[ap]\.?m\.?)?\s*"
    r"(?P<zone>z|utc|gmt|(?:utc|gmt)?[+-]\d{2}(?::?\d{2})?)?$"
)
# Name of a shape -> pattern with the parts y (year), m, d, or a and b (day and month, or month and
# day), n (the name of a month).
_SHAPES = {
    **{
        f"%Y{sign}%m{sign}%d": rf"^(?P<y>\d{{4}}){dot}(?P<m>\d{{1,2}}){dot}(?P<d>\d{{1,2}})$"
        for sign, dot in (("-", "-"), ("/", "/"), (".", r"\."))
    },
    **{
        f"?{sign}?{sign}{year}": rf"^(?P<a>\d{{1,2}}){dot}(?P<b>\d{{1,2}}){dot}(?P<y>{digits})$"
        for sign, dot in (("-", "-"), ("/", "/"), (".", r"\."), (" ", " "))
        for year, digits in (("%Y", r"\d{4}"), ("%y", r"\d{2}"))
    },
    "%Y%m%d": r"^(?P<y>(?:1[6-9]|2[0-2])\d{2})(?P<m>\d{2})(?P<d>\d{2})$",
    "%d %b %Y": rf"^(?P<d>\d{{1,2}})[ ./-]*(?:de )?(?P<n>{_NAME})[ ,./-]*(?:de )?(?P<y>\d{{4}})$",
    "%d %b %y": rf"^(?P<d>\d{{1,2}})[ ./-]*(?P<n>{_NAME})[ ,./'-]*(?P<y>\d{{2}})$",
    "%b %d %Y": rf"^(?P<n>{_NAME})[ ./-]*(?P<d>\d{{1,2}})[ ,./-]+(?P<y>\d{{4}})$",
    "%Y %b %d": rf"^(?P<y>\d{{4}})[ ./-]*(?P<n>{_NAME})[ ./-]*(?P<d>\d{{1,2}})$",
    "%Y-%m": r"^(?P<y>\d{4})[-/](?P<m>\d{1,2})$",
    "%m/%Y": r"^(?P<m>\d{1,2})[-/](?P<y>\d{4})$",
    "%b %Y": rf"^(?P<n>{_NAME})[ ,./-]*(?P<y>\d{{4}})$",
}
_ISO = r"^\d{4}-\d{2}-\d{2}(?:[ T]\d{2}:\d{2}:[0-5]\d)?$"
_COULD_BE = (
    r"(?i)\d\D{1,2}\d{1,2}\D{1,2}\d|^\s*\d{8}(?:\D|$)|^\s*\d{14}z?\s*$|^\s*\d{4}[-/]\d|\d[-/]\d{4}\s*$"
    r"|\d.*(?:jan|feb|f[eé]v|ene|mar|m[aä]r|m[aä]e|mrz|apr|abr|avr|ma[iy]|jun|jui|jul|aug|ago|ao"
    r"|sep|oct|okt|nov|dec|dez|d[eé]c|dic)"
    r"|(?:jan|feb|f[eé]v|ene|mar|m[aä]r|m[aä]e|mrz|apr|abr|avr|ma[iy]|jun|jui|jul|aug|ago|ao"
    r"|sep|oct|okt|nov|dec|dez|d[eé]c|dic).*\d"
)
_SERIALS = {
    "excel": (r"^[2-6]\d{4}(?:\.\d+)?$", 86_400_000_000, -25_569 * 86_400_000_000),
    "epoch_s": (r"^\d{9,10}(?:\.\d+)?$", 1_000_000, 0),
    "epoch_ms": (r"^\d{12,13}$", 1_000, 0),
    "epoch_us": (r"^\d{15,16}$", 1, 0),
}
SERIAL_SHAPES = tuple(_SERIALS)
"""Numbers that are dates in a column of dates: days since 1899-12-30 as Excel counts them (1900
system), and seconds, milliseconds or microseconds since 1970."""


def date_cells(texts: pl.Series) -> pl.DataFrame:
    """Take written dates apart, without knowing how their column is written.

    Args:
        texts: Utf8, distinct.

    Returns:
        One row per text, in any order: `text`; `shape` (strptime, `?` where day or month stand,
        null where it is no date); `plain` and `turned`, Datetime("us"): the date with the parts in
        the order as written (for `?` shapes: day first), and with day and month the other way
        round, null where there is no such day; `timed`, whether a time of day stands beside it;
        `zoned`.
    """
    iso = texts.str.contains(_ISO)
    return pl.concat([_iso_cells(texts.filter(iso)), _other_cells(texts.filter(~iso))])


def _iso_cells(texts: pl.Series) -> pl.DataFrame:
    """Cells as 2024-12-31 and 2024-12-31 23:59:59: the most, and quickly read."""
    text = pl.col("text").str.replace("T", " ", literal=True)
    timed = text.str.len_chars() > 10

    def moment(form: str) -> pl.Expr:
        day = text.str.to_date(form, strict=False).cast(pl.Datetime("us"))
        clock = text.str.to_datetime(f"{form} %H:%M:%S", strict=False, time_unit="us")
        found = pl.when(timed).then(clock).otherwise(day)
        return pl.when(found.dt.year() >= 1000).then(found)

    return pl.DataFrame({"text": texts}).select(
        "text",
        turned=moment("%Y-%d-%m"),
        timed=timed,
        zoned=pl.lit(False),
        shape=pl.when(timed).then(pl.lit("%Y-%m-%d %H:%M:%S")).otherwise(pl.lit("%Y-%m-%d")),
        plain=moment("%Y-%m-%d"),
    )


def _other_cells(texts: pl.Series) -> pl.DataFrame:
    cells = pl.DataFrame({"text": texts}).with_columns(core=_core())
    timed = cells["core"].str.extract_groups(_TIME).struct.unnest()
    cells = cells.with_columns(timed.get_columns()).with_columns(
        core=pl.coalesce("day_part", "core").str.strip_chars(" ,"),
        timed=pl.col("hour").is_not_null(),
    )
    cells = _with_parts(cells)
    day, month = pl.coalesce("d", "a"), pl.coalesce("m", "b")
    clock, sound_clock = _clock()
    cells = cells.with_columns(
        clock=clock,
        plain=_days(pl.col("y"), month, day),
        turned=pl.when(pl.col("shape").str.contains(r"%m.?%d|\?")).then(
            _days(pl.col("y"), day, month)
        ),
        sound_clock=sound_clock,
    )
    return _with_serials(_with_clock(cells))


def could_be_date(texts: pl.Expr) -> pl.Expr:
    """Whether a cell is worth a look of `date_cells`: true for every date but serials."""
    return (texts.str.len_chars() <= 48) & texts.str.contains(_COULD_BE)


def is_serial(texts: pl.Expr) -> pl.Expr:
    """Whether a cell is a number that may be a date in a column of dates."""
    pattern = "|".join(pattern for pattern, _, _ in _SERIALS.values())
    return texts.str.strip_chars().str.contains(pattern)


def _core() -> pl.Expr:
    """The text in lower case, blanks made one, weekday and ordinal endings taken off."""
    core = pl.col("text").str.strip_chars().str.to_lowercase()
    core = core.str.replace_all(r"[\s\u00a0\u202f]+", " ").str.strip_chars("'\"")
    core = core.str.replace(rf"^(?:{_WEEKDAYS})\.?,?\s+", "")
    core = core.str.replace_all(r"\b(\d{1,2})(?:st|nd|rd|th)\b", "$1")
    return core.str.replace(r"^(\d{4})年(\d{1,2})月(\d{1,2})日", "$1-$2-$3")


def _with_parts(cells: pl.DataFrame) -> pl.DataFrame:
    """Columns y, m, d, a, b (Int32), n and the shape, from the first pattern that fits."""
    # 14 digits: a compact date with its time.
    compact = pl.col("core").str.extract_groups(
        r"^(?P<c>(?:19|20)\d{6})t?(?P<ch>\d{2})(?P<cm>\d{2})(?P<cs>\d{2})?(?P<cz>z)?$"
    )
    cells = cells.with_columns(compact.alias("compact")).unnest("compact")
    is_compact = pl.col("c").is_not_null() & (pl.col("core").str.len_chars() != 12)
    cells = cells.with_columns(
        core=pl.when(is_compact).then("c").otherwise("core"),
        hour=pl.when(is_compact).then("ch").otherwise("hour"),
        minute=pl.when(is_compact).then("cm").otherwise("minute"),
        sec=pl.when(is_compact).then("cs").otherwise("sec"),
        zone=pl.when(is_compact).then("cz").otherwise("zone"),
        timed=pl.col("timed") | is_compact,
    )
    return _by_shape(cells)


def _by_shape(cells: pl.DataFrame) -> pl.DataFrame:
    """Each cell with its shape and parts; a cell is tried until a pattern fits."""
    parts, rest = [], cells
    for shape, pattern in _SHAPES.items():
        fits = rest["core"].str.contains(pattern)
        if fits.any():
            parts.append(_part(rest.filter(fits), shape, pattern))
            rest = rest.filter(~fits)
    empty = [pl.lit(None, pl.Int32).alias(name) for name in "ymdab"]
    named = [pl.lit(None, pl.Utf8).alias(name) for name in ("n", "shape")]
    return pl.concat([*parts, rest.with_columns(empty + named)], how="diagonal")


def _part(mine: pl.DataFrame, shape: str, pattern: str) -> pl.DataFrame:
    """The cells of one shape, taken apart."""
    groups = mine["core"].str.extract_groups(pattern).struct.unnest()
    empty = pl.lit(None, pl.Int32)
    number = {
        name: groups[name].cast(pl.Int32) if name in groups.columns else empty for name in "ymdab"
    }
    named = groups["n"] if "n" in groups.columns else pl.lit(None, pl.Utf8)
    mine = mine.with_columns(n=named, shape=pl.lit(shape), **number)
    if "%y" in shape:
        mine = mine.with_columns(
            y=pl.col("y") + pl.when(pl.col("y") < 69).then(2000).otherwise(1900)
        )
    month = (
        pl.col("n")
        .str.strip_chars(".")
        .replace_strict(_MONTH_NUMBERS, default=None, return_dtype=pl.Utf8)
    )
    mine = mine.with_columns(m=pl.coalesce("m", month.cast(pl.Int32)))
    return (
        mine.with_columns(d=pl.lit(1, pl.Int32)) if "d" not in shape and "?" not in shape else mine
    )


def _days(year: pl.Expr, month: pl.Expr, day: pl.Expr) -> pl.Expr:
    """Midnight of a day, null where there is no such day (or its year is below 1000)."""
    leap = ((year % 4 == 0) & (year % 100 != 0)) | (year % 400 == 0)
    length = (
        pl.when(month == 2)
        .then(pl.when(leap).then(29).otherwise(28))
        .when(month.is_in([4, 6, 9, 11]))
        .then(30)
        .otherwise(31)
    )
    sound = month.is_between(1, 12) & (day >= 1) & (day <= length) & (year >= 1000)
    one = pl.lit(1, pl.Int32)
    date = pl.datetime(
        pl.when(sound).then(year).otherwise(pl.lit(2000, pl.Int32)),
        pl.when(sound).then(month).otherwise(one),
        pl.when(sound).then(day).otherwise(one),
        time_unit="us",
    )
    return pl.when(sound).then(date)


def _clock() -> tuple[pl.Expr, pl.Expr]:
    """Microseconds since midnight in UTC, and whether there is such a time of day."""
    hour, minute = (pl.col(name).cast(pl.Int64) for name in ("hour", "minute"))
    second = pl.col("sec").cast(pl.Int64).fill_null(0)
    fraction = pl.col("fraction").str.pad_end(6, "0").str.slice(0, 6).cast(pl.Int64).fill_null(0)
    half = pl.col("half").str.slice(0, 1)
    day_hour = (
        pl.when(half == "p").then(hour % 12 + 12).when(half == "a").then(hour % 12).otherwise(hour)
    )
    zone = pl.col("zone").str.extract_groups(r"(?P<s>[+-])(?P<h>\d{2}):?(?P<m>\d{2})?")
    offset = zone.struct.field("h").cast(pl.Int64) * 60 + zone.struct.field("m").cast(
        pl.Int64
    ).fill_null(0)
    offset = pl.when(zone.struct.field("s") == "-").then(-offset).otherwise(offset).fill_null(0)
    sound = (day_hour < 24) & (minute < 60) & (second < 61)
    micros = ((day_hour * 60 + minute - offset) * 60 + second) * 1_000_000 + fraction
    return micros, sound.fill_null(True) & (half.is_null() | hour.is_between(1, 12))


def _with_clock(cells: pl.DataFrame) -> pl.DataFrame:
    """Add the time of day to both readings and to the shape."""
    clock = pl.duration(microseconds=pl.col("clock").fill_null(0), time_unit="us")
    seconds = pl.when(pl.col("sec").is_null()).then(pl.lit(" %H:%M"))
    suffix = (
        pl.when(~pl.col("timed"))
        .then(pl.lit(""))
        .when(pl.col("half").is_not_null())
        .then(pl.lit(" %I:%M %p"))
        .otherwise(seconds.otherwise(pl.lit(" %H:%M:%S")))
    ) + pl.when(pl.col("zone").is_not_null()).then(pl.lit("%z")).otherwise(pl.lit(""))
    return cells.with_columns(
        plain=pl.when("sound_clock").then(pl.col("plain") + clock),
        turned=pl.when("sound_clock").then(pl.col("turned") + clock),
        shape=pl.col("shape") + suffix,
        zoned=pl.col("zone").is_not_null(),
    )


def _with_serials(cells: pl.DataFrame) -> pl.DataFrame:
    """Read what is a bare number as a serial date."""
    number = pl.col("core").cast(pl.Float64, strict=False)
    shape, value = pl.col("shape"), pl.col("plain")
    for name, (pattern, scale, start) in _SERIALS.items():
        fits = pl.col("shape").is_null() & pl.col("core").str.contains(pattern)
        # Spreadsheets count seconds in fractions of a day, of which six digits may be left.
        seconds = ((number * scale + start) / 1e6).round(0) if name == "excel" else None
        micros = number * scale + start if seconds is None else seconds * 1e6
        micros = micros.round(0).cast(pl.Int64, strict=False)
        shape = pl.when(fits).then(pl.lit(name)).otherwise(shape)
        value = pl.when(fits).then(micros.cast(pl.Datetime("us"))).otherwise(value)
    return cells.select("text", "turned", "timed", "zoned", shape=shape, plain=value)

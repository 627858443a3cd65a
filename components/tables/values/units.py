"""Units, currencies and magnitudes that stand beside numbers."""

import polars as pl

_UNIT_NAMES = """
kg g mg lb lbs oz t km cm mm m mi ft yd l ml cl dl s sec secs min mins h hr hrs hour hours ms d
day days week weeks month months yr yrs year years y mph kmh km/h m/s kn °c °f c f ° v a w kw
kwh mwh hz khz mhz ghz px kb mb gb tb pcs pc mmol/l mg/dl kpa hpa mbar bar pa cal kcal kj j
m2 m² sqft sqm ha m3 m³ ppm db rpm hp ps cc
"""
UNITS = frozenset([*_UNIT_NAMES.split(), "x", "unit", "units"])
"""Units that are known without being declared, in lower case."""

_CURRENCIES = {
    **dict.fromkeys(("$", "usd", "us$", "dollar", "dollars"), "$"),
    **dict.fromkeys(("€", "eur", "euro", "euros"), "€"),
    **dict.fromkeys(("£", "gbp"), "£"),
    **dict.fromkeys(("¥", "jpy", "cny", "rmb"), "¥"),
    **dict.fromkeys(("₹", "inr", "rs", "rs."), "₹"),
    **{
        code: code
        for code in [
            "chf",
            "cad",
            "aud",
            "nzd",
            "sek",
            "nok",
            "dkk",
            "pln",
            "czk",
            "huf",
            "brl",
            "mxn",
            "zar",
            "krw",
            "try",
        ]
    },
    **{sign: sign for sign in "₽₩₺₪฿"},
}
_ONE_SPELLING = {
    **_CURRENCIES,
    **{"c": "°c", "f": "°f", "kmh": "km/h", "m²": "m2", "sqm": "m2", "m³": "m3", "lbs": "lb"},
    **dict.fromkeys(("sec", "secs"), "s"),
    **dict.fromkeys(("mins",), "min"),
    **dict.fromkeys(("hr", "hrs", "hour", "hours"), "h"),
    **dict.fromkeys(("day", "days"), "d"),
    **dict.fromkeys(("yrs", "year", "years", "y"), "yr"),
    **{"weeks": "week", "months": "month"},
    **dict.fromkeys(("x", "pc", "units", "unit"), "pcs"),
}
_MAGNITUDES = {
    **dict.fromkeys(("k", "K", "thousand", "tsd", "tsd."), 1e3),
    **dict.fromkeys(("M", "mio", "mio.", "mn", "mln", "million", "millions"), 1e6),
    **dict.fromkeys(("B", "bn", "billion", "billions", "mrd", "mrd."), 1e9),
}


def known_units() -> list[str]:
    """Units that are understood without being the column's own; `5m` could be 5 millions."""
    return sorted({*UNITS, *_CURRENCIES.values()} - {"m"})


def canonical_unit(unit: str) -> str:
    """One spelling per unit: `EUR` and `€` are `€`, `KG` is `kg`."""
    lower = unit.strip().lower()
    return _ONE_SPELLING.get(lower, lower)


def is_currency(unit: str) -> bool:
    """Whether a unit, in its canonical spelling, is money."""
    return unit in _CURRENCIES.values()


def with_units(cells: pl.DataFrame) -> pl.DataFrame:
    """Sort what stands beside the digits into unit, percent and magnitude."""
    suffix = pl.col("suffix").fill_null("")
    lower = suffix.str.to_lowercase()
    magnitude = suffix.replace_strict(_MAGNITUDES, default=None, return_dtype=pl.Float64)
    magnitude = pl.coalesce(
        magnitude,
        lower.replace_strict(
            {word: factor for word, factor in _MAGNITUDES.items() if len(word) > 1},
            default=None,
            return_dtype=pl.Float64,
        ),
    )
    prefix = pl.col("prefix").fill_null("").str.to_lowercase()
    cells = cells.with_columns(
        percent=suffix.is_in(["%", "pct", "percent"]),
        factor=magnitude,
        magnitude=magnitude.is_not_null(),
        # A prefix of letters is a currency, or this is a code as `ABC 123`; 11th is a name.
        code=((prefix != "") & ~prefix.is_in(list(_CURRENCIES)))
        | lower.is_in(["st", "nd", "rd", "th"]),
    )
    bare = pl.col("percent") | pl.col("magnitude")
    written = prefix + pl.when(bare).then(pl.lit("")).otherwise(lower)
    return cells.with_columns(
        unit_name=pl.when("code").then(pl.lit("code")).otherwise(written.replace(_ONE_SPELLING))
    )

"""One small table written in many encodings and structures, and files that are no table."""

import csv
import gzip
import io
import zipfile
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl

_CITIES = ("Zürich", "Genève", "Köln", "Málaga", "Ålesund")
_NAMES = ("Müller, Anna", "O'Neill", 'Sam "Sax" Lee', "José Ortega", "François")
_NOTES = ("ok", "second floor\nleft door", "10% off; call", "a, b and c", "see § 4")
COLUMNS = ("id", "name", "city", "amount", "day", "note")
_ENCODINGS = {
    "utf-8 with mark": ("utf-8-sig", "\n"),
    "utf-16 le with mark": ("utf-16-le", "\n"),
    "utf-16 be with mark": ("utf-16-be", "\n"),
    "utf-16 le without mark": ("utf-16-le", "\n"),
    "utf-32 le with mark": ("utf-32-le", "\n"),
    "cp1252": ("cp1252", "\n"),
    "latin-1, CRLF": ("latin-1", "\r\n"),
}
_MARKS = {
    "utf-16 le with mark": b"\xff\xfe",
    "utf-16 be with mark": b"\xfe\xff",
    "utf-32 le with mark": b"\xff\xfe\0\0",
}


@dataclass(frozen=True)
class CsvVariant:
    """One way in which a table may come.

    Attributes:
        name: What is special about it.
        data: The file.
        expected: The table, typed; None where the file has to be refused.
        may_be_refused: Whether a clear refusal is as good as the right table.
    """

    name: str
    data: bytes
    expected: pl.DataFrame | None
    may_be_refused: bool = False

    @property
    def file_name(self) -> str:
        """The variant's name as that of a .csv file."""
        return "".join(c if c.isalnum() else "_" for c in self.name) + ".csv"


def csv_variants(seed: int, num_rows: int = 60) -> list[CsvVariant]:
    """All variants of one table of `COLUMNS`, with commas, quotes and line breaks in cells."""
    frame = _frame(np.random.default_rng([seed, 0xC5F]), num_rows)
    return [*_encoded(frame), *_structured(frame), *_framed(frame), *_doubtful(frame), *_refused()]


def _frame(rng: np.random.Generator, num_rows: int) -> pl.DataFrame:
    def pick(names: tuple[str, ...]) -> list[str]:
        return [names[number] for number in rng.integers(len(names), size=num_rows)]

    days = [date(2024, 1, 1) + timedelta(int(n)) for n in rng.integers(0, 366, num_rows)]
    return pl.DataFrame(
        {
            "id": range(1, num_rows + 1),
            "name": pick(_NAMES),
            "city": pick(_CITIES),
            "amount": np.round(rng.gamma(2, 60, num_rows) + 1, 2),
            "day": days,
            "note": pick(_NOTES),
        }
    )


def _encoded(frame: pl.DataFrame) -> list[CsvVariant]:
    found = [CsvVariant("utf-8", written(frame).encode(), frame)]
    for name, (encoding, end) in _ENCODINGS.items():
        # What tells cp1252 from Latin-1: the euro sign.
        own = _with_sign(frame, "€") if encoding == "cp1252" else frame
        data = _MARKS.get(name, b"") + written(own, end=end).encode(encoding)
        found.append(CsvVariant(name, data, own))
    return found


def _structured(frame: pl.DataFrame) -> list[CsvVariant]:
    """Delimiters, quotes, line ends, decimal marks."""
    texts = {
        "semicolons": written(frame, delimiter=";"),
        "tabs": written(frame, delimiter="\t"),
        "bars": written(frame, delimiter="|"),
        "semicolons, decimal commas": written(frame, delimiter=";", decimal=","),
        "commas, quoted decimal commas": written(frame, decimal=","),
        "all quoted": written(frame, quoting=csv.QUOTE_ALL),
        "CRLF": written(frame, end="\r\n"),
        # Python before 3.13 leaves a line feed unquoted there.
        "CR": written(frame, end="\r", quoting=csv.QUOTE_ALL),
        "no last line end": written(frame).rstrip("\n"),
        "delimiter behind every row": _every_line(frame, "{},"),
        "blanks behind delimiters": written(_flat(frame), quoting=csv.QUOTE_ALL).replace(
            '","', '", "'
        ),
        "quotes escaped by backslashes": written(frame, doublequote=False),
        "single quotes": written(_flat(frame), quote="'"),
    }
    flat = {"blanks behind delimiters", "single quotes", "delimiter behind every row"}
    return [
        CsvVariant(
            name, text.encode(), _flat(frame) if name in flat else frame, name == "single quotes"
        )
        for name, text in texts.items()
    ]


def _framed(frame: pl.DataFrame) -> list[CsvVariant]:
    """Lines before, between and behind the rows, and odd headers."""
    text, flat = written(frame), _flat(frame)
    lines = written(flat).splitlines()
    header, rest = text.split("\n", 1)
    upper = header.replace("amount", " amount ").replace("city", '"city"')
    mixed = [line + ("\r\n" if n % 3 else "\n") for n, line in enumerate(lines)]
    return [
        CsvVariant("sep= line", b"sep=;\n" + written(frame, delimiter=";").encode(), frame),
        CsvVariant("blank lines", "\n\n".join(lines).encode() + b"\n\n\n", flat),
        CsvVariant("blank lines first", b"\n\n" + text.encode(), frame),
        CsvVariant("header with blanks", f"{upper}\n{rest}".encode(), frame),
        CsvVariant("mixed line ends", "".join(mixed).encode(), flat),
        CsvVariant("mark and semicolons", written(frame, delimiter=";").encode("utf-8-sig"), frame),
        CsvVariant(
            "mark and quoted header",
            written(frame, quoting=csv.QUOTE_ALL).encode("utf-8-sig"),
            frame,
        ),
        CsvVariant("title before the header", b"Report of March\n\n" + text.encode(), frame, True),
        CsvVariant("comments first", b"# made by hand\n# in March\n" + text.encode(), frame, True),
        CsvVariant("end-of-file sign", text.encode() + b"\x1a", frame, True),
    ]


def _doubtful(frame: pl.DataFrame) -> list[CsvVariant]:
    """Where refusing is as good as reading rightly; reading wrongly is not."""
    text, flat = written(frame), _flat(frame)
    half = len(lines := written(flat).splitlines(keepends=True)) // 2
    two = "".join(lines[:half]).encode() + "".join(lines[half:]).encode("cp1252")
    open_quote = text + '99,"cut off in the mid'
    ascii_only = flat.with_columns(pl.lit("Bern").alias("city"), pl.lit("Ann").alias("name"))
    japanese = ascii_only.with_columns(pl.lit("東京都").alias("city"), pl.lit("ok").alias("note"))
    return [
        CsvVariant("two encodings in one file", two, flat, True),
        CsvVariant("cut within quotes", open_quote.encode(), frame, True),
        CsvVariant("gzip called .csv", gzip.compress(text.encode(), mtime=0), frame, True),
        CsvVariant("shift-jis", written(japanese).encode("shift_jis"), japanese, True),
        CsvVariant("mac roman", text.encode("mac_roman"), frame, True),
        CsvVariant("zero bytes between", text.encode().replace(b",", b"\0,", 3), frame, True),
    ]


def _refused() -> list[CsvVariant]:
    """No tables at all."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("a.csv", (2024, 3, 5, 0, 0, 0)), "id,name\n1,a\n")
    noise = np.random.default_rng(7).integers(0, 256, 6000, dtype=np.uint8).tobytes()
    files = {
        "empty file": b"",
        "only blank lines": b"\n\n  \n",
        "only a header": ",".join(COLUMNS).encode() + b"\n",
        "zip called .csv": buffer.getvalue(),
        "picture called .csv": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + noise,
        "noise called .csv": noise,
        "web page called .csv": b"<!DOCTYPE html><html><body><p>Sign in</p></body></html>\n" * 9,
    }
    return [CsvVariant(name, data, None) for name, data in files.items()]


def written(
    frame: pl.DataFrame,
    *,
    delimiter: str = ",",
    end: str = "\n",
    decimal: str = ".",
    quote: str = '"',
    quoting: int = csv.QUOTE_MINIMAL,
    doublequote: bool = True,
) -> str:
    """The table as text."""
    buffer = io.StringIO()
    writer = csv.writer(
        buffer,
        delimiter=delimiter,
        lineterminator=end,
        quotechar=quote,
        quoting=csv.QUOTE_ALL if quoting == csv.QUOTE_ALL else csv.QUOTE_MINIMAL,
        doublequote=doublequote,
        escapechar=None if doublequote else "\\",
    )
    writer.writerow(frame.columns)
    for row in frame.iter_rows(named=True):
        amount = f"{row['amount']:.2f}".replace(".", decimal)
        writer.writerow([*(row[c] for c in COLUMNS[:3]), amount, row["day"], row["note"]])
    return buffer.getvalue()


def _flat(frame: pl.DataFrame) -> pl.DataFrame:
    """Without line breaks in cells."""
    return frame.with_columns(pl.col("note").str.replace("\n", " "))


def _with_sign(frame: pl.DataFrame, sign: str) -> pl.DataFrame:
    return frame.with_columns(pl.col("note").str.replace("§", sign))


def _every_line(frame: pl.DataFrame, form: str) -> str:
    return "".join(form.format(line) + "\n" for line in written(_flat(frame)).splitlines())

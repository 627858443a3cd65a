"""Clean tables that look like real ones: orders, sensor readings, employees, taxi trips."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl

CITIES = (
    *("München", "Köln", "Berlin", "Hamburg", "Zürich", "Genève"),
    *("Lyon", "Besançon", "Nîmes", "Wien", "Graz", "Düsseldorf"),
)
_PRODUCTS = ("Garden tools", "Kitchen", "Books", "Electronics", "Toys", "Stationery")
_STATES = ("ok", "warning", "failure", "maintenance")
_DEPARTMENTS = ("Accounting", "Engineering", "Human Resources", "Marketing", "Sales", "Logistics")
_PAYMENTS = ("Credit card", "Cash", "Dispute", "No charge")
_FIRST = ("Anna", "José", "Zoë", "Liam", "Sofía", "Jürgen", "Chloé", "Mats", "Noor", "Émile")
_LAST = ("Müller", "García", "O'Neill", "Null", "de la Cruz", "Nakamura", "Lefèvre", "Schmidt")
_NOTES = (
    *("", "", "", "call first", 'says "urgent"', "2nd floor, left", "gift wrap; no card"),
    *("deliver to\nthe back door", "50% off", "n° 12", "see order 1,024"),
)


@dataclass(frozen=True)
class CleanTable:
    """A clean table and how it is written.

    Attributes:
        kind: Which one.
        frame: Typed columns.
        key: Column that names a row.
        rules: What holds in every row.
        delimiter: Between fields.
        decimal: Decimal mark of the file.
        date_format: strptime format of the file's dates.
        categories: Category columns -> their names.
        quoted: Columns that are always quoted.
        decimals: Column of numbers -> digits after the decimal mark.
        true_false: How booleans are written.
    """

    kind: str
    frame: pl.DataFrame
    key: str
    rules: tuple[str, ...] = ()
    delimiter: str = ","
    decimal: str = "."
    date_format: str = "%Y-%m-%d"
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    quoted: tuple[str, ...] = ()
    decimals: Mapping[str, int] = field(default_factory=dict)
    true_false: tuple[str, str] = ("yes", "no")

    def texts(self, column: str) -> list[str]:
        """The cells of a column as the clean file holds them; "" where one is missing."""
        return [self._text(column, value) for value in self.frame[column]]

    def _text(self, column: str, value: object) -> str:
        if value is None:
            return ""
        if isinstance(value, bool):
            return self.true_false[0] if value else self.true_false[1]
        if isinstance(value, float):
            return f"{value:.{self.decimals[column]}f}".replace(".", self.decimal)
        if isinstance(value, date):
            return value.strftime(self.date_format)
        return str(value)


def clean_table(kind: str, rng: np.random.Generator, num_rows: int) -> CleanTable:
    """One of `TABLES`, with so many rows."""
    return TABLES[kind](rng, num_rows)


def _orders(rng: np.random.Generator, num_rows: int) -> CleanTable:
    quantity = rng.integers(1, 21, num_rows)
    price = np.round(np.exp(rng.normal(3.6, 0.7, num_rows)) + 2, 2)
    frame = pl.DataFrame(
        {
            "order_id": 100_001 + np.arange(num_rows),
            "order_date": [date(2023, 1, 1) + timedelta(int(d)) for d in _days(rng, num_rows)],
            "customer": _names(rng, num_rows, "{last}, {first}"),
            "city": _pick(rng, CITIES, num_rows),
            "product": _pick(rng, _PRODUCTS, num_rows),
            "quantity": quantity,
            "unit_price": price,
            "total": np.round(quantity * price, 2),
            "paid": rng.random(num_rows) < 0.7,
            "note": _pick(rng, _NOTES, num_rows),
        }
    ).with_columns(pl.col("note").replace("", None))
    return CleanTable(
        "orders",
        frame,
        "order_id",
        rules=("total == quantity * unit_price",),
        categories={"city": CITIES, "product": _PRODUCTS},
        quoted=("customer",),
        decimals={"unit_price": 2, "total": 2},
    )


def _sensors(rng: np.random.Generator, num_rows: int) -> CleanTable:
    stations = tuple(f"{number:04d}" for number in rng.choice(900, 20, replace=False) + 7)
    hours = np.arange(num_rows) * 2 / 3
    warm = 12 + 6 * np.sin(hours / 24 * 2 * np.pi) + rng.normal(0, 2, num_rows)
    humidity = np.clip(rng.normal(65, 12, num_rows), 20, 99).astype(int)
    frame = pl.DataFrame(
        {
            "reading_id": [f"R{number:06d}" for number in range(1, num_rows + 1)],
            "time": [datetime(2024, 1, 13) + timedelta(minutes=40 * n) for n in range(num_rows)],
            "station": _pick(rng, stations, num_rows),
            "temperature": np.round(warm, 1),
            "humidity": humidity,
            "pressure": np.round(rng.normal(1013, 7, num_rows), 1),
            "status": _pick(rng, _STATES, num_rows, (0.8, 0.12, 0.05, 0.03)),
        }
    )
    gap = pl.Series(rng.random(num_rows) < 0.02)
    frame = frame.with_columns(pl.when(~gap).then("humidity").alias("humidity"))
    return CleanTable(
        "sensors",
        frame,
        "reading_id",
        date_format="%Y-%m-%d %H:%M:%S",
        categories={"status": _STATES, "station": stations},
        decimals={"temperature": 1, "pressure": 1},
    )


def _employees(rng: np.random.Generator, num_rows: int) -> CleanTable:
    names = _names(rng, num_rows, "{first} {last}")
    frame = pl.DataFrame(
        {
            "employee_id": 2_001 + np.arange(num_rows),
            "name": names,
            "department": _pick(rng, _DEPARTMENTS, num_rows),
            "salary": np.round(np.exp(rng.normal(10.8, 0.22, num_rows)), 2),
            "hired": [date(2005, 1, 1) + timedelta(int(d) * 9) for d in _days(rng, num_rows)],
            "email": [f"staff{number}@example.com" for number in range(num_rows)],
            "zip": [f"{int(code):05d}" for code in rng.integers(1067, 99_998, num_rows)],
            "full_time": rng.random(num_rows) < 0.8,
        }
    )
    return CleanTable(
        "employees",
        frame,
        "employee_id",
        delimiter=";",
        decimal=",",
        date_format="%d.%m.%Y",
        categories={"department": _DEPARTMENTS},
        decimals={"salary": 2},
        true_false=("true", "false"),
    )


def _trips(rng: np.random.Generator, num_rows: int) -> CleanTable:
    fare = np.round(3 + rng.gamma(3, 5, num_rows), 2)
    tip = np.round(fare * rng.choice((0, 0.1, 0.15, 0.2, 0.25), num_rows), 2)
    tolls = rng.choice((0.0, 0.0, 0.0, 6.55, 11.19), num_rows)
    minutes = rng.integers(0, 500_000, num_rows)
    frame = pl.DataFrame(
        {
            "trip_id": [f"T-{number:05d}" for number in range(1, num_rows + 1)],
            "pickup": [datetime(2023, 2, 14) + timedelta(minutes=int(m)) for m in minutes],
            "passengers": rng.choice((1, 1, 1, 2, 2, 3, 4, 5), num_rows),
            "fare": fare,
            "tip": tip,
            "tolls": tolls,
            "total": np.round(fare + tip + tolls, 2),
            "payment": _pick(rng, _PAYMENTS, num_rows, (0.65, 0.27, 0.05, 0.03)),
        }
    )
    return CleanTable(
        "trips",
        frame,
        "trip_id",
        rules=("total == fare + tip + tolls",),
        date_format="%m/%d/%Y %H:%M",
        categories={"payment": _PAYMENTS},
        decimals={"fare": 2, "tip": 2, "tolls": 2, "total": 2},
    )


TABLES: dict[str, Callable[[np.random.Generator, int], CleanTable]] = {
    "orders": _orders,
    "sensors": _sensors,
    "employees": _employees,
    "trips": _trips,
}


def _days(rng: np.random.Generator, num_rows: int) -> np.ndarray:
    return rng.integers(0, 700, num_rows)


def _pick(
    rng: np.random.Generator,
    names: tuple[str, ...],
    num_rows: int,
    shares: tuple[float, ...] | None = None,
) -> list[str]:
    return [names[number] for number in rng.choice(len(names), num_rows, p=shares)]


def _names(rng: np.random.Generator, num_rows: int, form: str) -> list[str]:
    firsts, lasts = _pick(rng, _FIRST, num_rows), _pick(rng, _LAST, num_rows)
    return [form.format(first=f, last=s) for f, s in zip(firsts, lasts, strict=True)]

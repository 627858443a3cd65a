"""`prepare` of tables: every kind of split, pinned schemas, the export, sources of every form."""

import gzip
import json
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from components.errors import DataError, RecipeError
from components.tasks.table_view import TableView
from pipelines import forward_fill
from pipelines.cli import app
from pipelines.recipe import load_recipe
from pipelines.stages import cache_folder
from tests.pipelines.preparing import (
    check_books,
    digests,
    duplicates,
    exported,
    findings,
    prepared,
    quarantine,
    shards,
    write_table,
)

ROWS = 600
KEY = "data.clean.key=[id]"

pytestmark = pytest.mark.usefixtures("ray_cluster")


def frame(num_rows: int = ROWS, seed: int = 0) -> pl.DataFrame:
    """Orders: a key, a group of 40 customers, a day, an amount with gaps and a class."""
    rng = np.random.default_rng(seed)
    days = [date(2024, 1, 1) + timedelta(days=int(n)) for n in rng.integers(0, 300, num_rows)]
    amount = np.round(rng.gamma(2, 30, num_rows), 2)
    return pl.DataFrame(
        {
            "id": [f"R{number:05d}" for number in range(num_rows)],
            "customer": [f"c{n:02d}" for n in rng.integers(0, 40, num_rows)],
            "day": days,
            "amount": pl.Series(amount).set(pl.Series(rng.random(num_rows) < 0.05), None),
            "grade": [
                ("good", "fair", "bad")[n] for n in rng.choice(3, num_rows, p=(0.7, 0.2, 0.1))
            ],
        }
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One output for many recipes: they share the stages before the split."""
    folder = tmp_path_factory.mktemp("tables")
    write_table(folder / "orders.csv", frame())
    return folder


def split_of(place: Path, *overrides: str, source: str = "orders.csv") -> pl.DataFrame:
    data = prepared("table", place / source, KEY, *overrides, output=place / "runs")
    check_books(data)
    return shards(data)


def test_by_hash_a_record_stays_where_it_is_when_others_come(place: Path) -> None:
    before = split_of(place)
    counts = dict(before["split"].value_counts().rows())
    assert counts["val"] == pytest.approx(60, abs=25) and counts["test"] == pytest.approx(
        60, abs=25
    )
    more = pl.concat([frame(), frame(300, seed=1).with_columns(("N" + pl.col("id")).alias("id"))])
    write_table(place / "more.csv", more.sample(fraction=1, shuffle=True, seed=2))
    after = split_of(place, source="more.csv")
    joined = before.join(after, on="id", suffix="_after")
    assert len(joined) == ROWS and len(after) == ROWS + 300
    assert (joined["split"] == joined["split_after"]).all()
    assert (joined["record_id"] == joined["record_id_after"]).all()


def test_stratified_shares_are_exact_in_every_class(place: Path) -> None:
    options = ("data.target=grade", "data.split.method=stratified", "data.split.val=0.2")
    rows = split_of(place, *options)
    table = rows.group_by("grade").agg(
        pl.len(), *[(pl.col("split") == split).sum().alias(split) for split in ("val", "test")]
    )
    for row in table.to_dicts():
        assert abs(row["val"] - 0.2 * row["len"]) <= 1
        assert abs(row["test"] - 0.1 * row["len"]) <= 1


def test_no_group_lies_on_two_sides(place: Path) -> None:
    rows = split_of(place, "data.split={method: group, column: customer, val: 0.2, test: 0.2}")
    sides = rows.group_by("customer").agg(pl.col("split").n_unique())
    assert len(sides) == 40 and (sides["split"] == 1).all()
    assert rows["split"].n_unique() == 3


def test_the_future_is_held_out(place: Path) -> None:
    rows = split_of(place, "data.split={method: time, column: day, val: 0.2, test: 0.2}")
    days = {split: sorted(part["day"]) for (split,), part in rows.group_by("split")}
    assert days["train"][-1] < days["val"][0] and days["val"][-1] < days["test"][0]
    assert len(days["test"]) == pytest.approx(0.2 * ROWS, abs=5)
    assert len(days["val"]) == pytest.approx(0.2 * ROWS, abs=5)


def test_folds_cover_every_record_outside_test_once(place: Path) -> None:
    parts = [split_of(place, f"data.split={{folds: 3, fold: {n}, test: 0.2}}") for n in range(3)]
    tests = [set(rows.filter(split="test")["id"]) for rows in parts]
    vals = [set(rows.filter(split="val")["id"]) for rows in parts]
    assert tests[0] == tests[1] == tests[2] and tests[0]
    assert sum(map(len, vals)) == len(set.union(*vals)) == ROWS - len(tests[0])
    stages = list(cache_folder(place / "runs").glob("table-*/done/CleanTables"))
    folded = [path.stat().st_mtime_ns for path in stages]
    split_of(place, "data.split={folds: 4, fold: 3, test: 0.2}")
    assert [path.stat().st_mtime_ns for path in stages] == folded, "the rows were not cleaned again"


def test_files_called_train_and_test_stay_what_they_are(place: Path) -> None:
    folder = place / "given"
    folder.mkdir()
    write_table(folder / "orders_train.csv", frame()[:400])
    write_table(folder / "orders_test.csv", frame()[400:])
    rows = split_of(place, source="given")
    in_test = rows["origin"].str.starts_with("orders_test.csv#")
    assert (in_test == (rows["split"] == "test")).all() and in_test.sum() == 200
    assert 0 < (rows["split"] == "val").sum() < 80, "val is carved out of train"


def test_a_column_names_the_split(place: Path) -> None:
    names = ["train", "training", "validation", "test", "Test"]
    said = pl.Series("part", [names[n % 5] for n in range(ROWS)])
    table = frame().with_columns(said)
    table[7, "part"] = "holdout"
    write_table(place / "column.csv", table)
    data = prepared(
        *("table", place / "column.csv", KEY, "data.source.split_column=part"),
        *("data.columns.part.mapping={}",),
        output=place / "runs",
    )
    check_books(data)
    rows = shards(data)
    wanted = rows["part"].str.to_lowercase().replace({"training": "train", "validation": "val"})
    assert (rows["split"] == wanted).all()
    (bad,) = quarantine(data)
    assert bad["origin"] == "column.csv#8" and bad["reason"] == "bad_split"
    assert "holdout" in bad["detail"]


def test_the_same_table_in_every_form_is_the_same_data_set(place: Path) -> None:
    table = frame()
    lines = [json.dumps(row, default=str) for row in table.to_dicts()]
    (place / "orders.jsonl").write_text("\n".join(lines) + "\n")
    (place / "packed.csv.gz").write_bytes(gzip.compress(table.write_csv().encode()))
    table.write_parquet(place / "orders.parquet", row_group_size=100)
    expected = split_of(place).drop("origin")
    for source in ("orders.jsonl", "packed.csv.gz", "orders.parquet"):
        rows = split_of(place, source=source)
        assert rows.drop("origin").equals(expected), source
        assert rows["origin"].str.starts_with(f"{source}#").all()


def test_files_of_a_folder_are_one_table(place: Path) -> None:
    folder = place / "months"
    folder.mkdir()
    table = frame()
    for number in range(3):
        write_table(folder / f"{number}.csv", table[200 * number : 200 * (number + 1)])
    copy = table[0:1]
    write_table(folder / "3.csv", copy)
    data = prepared("table", folder, KEY, output=place / "runs")
    check_books(data)
    assert data.manifest.accounting.duplicates == 1
    (copy_row,) = duplicates(data)
    assert (copy_row["origin"], copy_row["kept_origin"]) == ("3.csv#1", "0.csv#1")
    rows = exported(data, place / "months.csv")
    assert [row["id"] for row in rows] == table["id"].to_list(), "in the order of the source"
    assert rows[400]["amount"] == str(table["amount"][400])


def test_the_export_has_the_source_s_columns_whatever_they_are_called(tmp_path: Path) -> None:
    names = ["label", "origin", "split", "record_id", "content", "origin_", "row", "bytes_hash"]
    rng = np.random.default_rng(0)
    table = pl.DataFrame(
        {name: [f"{name}{n}" for n in rng.integers(0, 4, 200)] for name in names}
    ).with_columns(
        pl.Series("record_id", range(200)),
        pl.Series("split", [f"s{n % 50}" for n in range(200)]),
        pl.Series("__time", rng.integers(0, 9, 200)),
        pl.Series("with blank, and comma", rng.integers(0, 9, 200)),
    )
    write_table(tmp_path / "odd.csv", table)
    data = prepared(
        *("table", tmp_path / "odd.csv", "data.clean.key=[record_id]", "data.target=origin"),
        *("data.split={method: group, column: split}", "data.columns.origin.kind=category"),
        output=tmp_path / "runs",
    )
    check_books(data)
    rows = exported(data, tmp_path / "out.csv")
    assert list(rows[0]) == table.columns
    assert rows == table.cast(pl.String).to_dicts()
    assert data.manifest.classes == [f"origin{n}" for n in range(4)]
    kept = [name for name in shards(data).columns if name in ("origin", "origin_", "origin__")]
    assert kept == ["origin", "origin_", "origin__"]


def test_repairs_can_be_read_in_the_export(tmp_path: Path) -> None:
    table = frame().cast(pl.String)
    table[3, "amount"], table[4, "day"], table[5, "grade"] = " 1,234.50 ", "2024-02-31", "GOOD "
    table[6, "amount"], table[8, "amount"] = "n/a", "oops"
    write_table(tmp_path / "dirty.csv", table)
    data = prepared("table", tmp_path / "dirty.csv", KEY, output=tmp_path / "runs")
    check_books(data)
    rows = {row["id"]: row for row in exported(data, tmp_path / "out.csv")}
    assert rows["R00003"]["amount"] == "1234.5"
    assert rows["R00005"]["grade"] == "good"
    assert rows["R00006"]["amount"] == rows["R00008"]["amount"] == ""
    assert "R00004" not in rows
    (aside,) = quarantine(data)
    assert (aside["origin"], aside["reason"]) == ("dirty.csv#5", "impossible_date")
    said = {line["record"]: line for line in findings(data) if line["record"]}
    assert said[9]["before"] == "oops" and said[9]["column"] == "amount"
    assert said[9]["origin"] == "dirty.csv#9" and said[9]["line"] == 10


def test_a_pinned_schema_is_kept_and_drift_stops_with_the_difference(
    place: Path, tmp_path: Path
) -> None:
    arguments = [f"data.source.path={place / 'orders.csv'}", f"output={place / 'runs'}", KEY]
    done = CliRunner().invoke(app, ["prepare", "table", *arguments, "--schema", "--json"])
    assert done.exit_code == 0, done.output
    schema = json.loads(done.stdout)
    kinds = {column["name"]: column["kind"] for column in schema["columns"]}
    assert (kinds["day"], kinds["amount"], kinds["grade"]) == ("date", "number", "category")
    assert all(column["evidence"] for column in schema["columns"])
    pinned = tmp_path / "schema.json"
    pinned.write_text(done.stdout)
    data = prepared(
        *("table", place / "orders.csv", KEY, f"data.schema_file={pinned}"), output=place / "runs"
    )
    assert data.manifest.table_schema == schema
    drifted = frame().rename({"grade": "mark"}).with_columns(pl.lit("soon").alias("day"))
    write_table(tmp_path / "drifted.csv", drifted)
    with pytest.raises(DataError) as refused:
        prepared(
            *("table", tmp_path / "drifted.csv", KEY, f"data.schema_file={pinned}"),
            output=tmp_path / "runs",
        )
    message = str(refused.value)
    assert "has drifted" in message and len(message.splitlines()) == 1
    assert "grade: missing, was category" in message and "mark: new, category" in message
    assert "day: " in message
    assert not list((tmp_path / "runs" / "datasets").iterdir())


def readings(num_rows: int = 900) -> pl.DataFrame:
    """Readings of 30 sensors, with gaps; each value says its sensor and its place in time."""
    rng = np.random.default_rng(5)
    sensor, day = rng.integers(0, 30, num_rows), rng.permutation(num_rows)
    return pl.DataFrame(
        {
            "id": [f"R{number:05d}" for number in range(num_rows)],
            "sensor": [f"s{n:02d}" for n in sensor],
            "day": [date(2020, 1, 1) + timedelta(days=int(n)) for n in day],
            "value": pl.Series(sensor * 10_000 + day + 0.5).set(
                pl.Series(rng.random(num_rows) < 0.4), None
            ),
            "price": rng.normal(50, 5, num_rows).round(2),
        }
    )


FORWARD = "data.encode.columns.value.impute={method: forward, by: [sensor], order: day}"


@pytest.mark.parametrize(
    "split", ["{val: 0.2, test: 0.2}", "{method: group, column: sensor, val: 0.2, test: 0.2}"]
)
def test_a_missing_value_is_the_last_known_of_its_key_in_its_split(place: Path, split: str) -> None:
    write_table(place / "readings.csv", readings())
    options = (KEY, "data.target=price", FORWARD, f"data.split={split}")
    data = prepared("table", place / "readings.csv", *options, output=place / "runs")
    check_books(data)
    assert data.manifest.shard_schema["value__carried"] == "double"
    rows = shards(data)
    expected = rows.sort("day").with_columns(
        pl.when(pl.col("value").is_null())
        .then(pl.col("value").forward_fill().over("split", "sensor"))
        .alias("value__carried")
    )
    assert rows.equals(expected.sort("record_id"))
    carried = rows.drop_nulls("value__carried")
    assert len(carried) > 200 and rows["value"].null_count() > len(carried)
    assert ((carried["value__carried"] // 10_000) == carried["sensor"].str.slice(1).cast(int)).all()
    # What is known in one split alone shows in no other.
    for part in ("train", "val", "test"):
        known = rows.filter(split=part)["value"].drop_nulls()
        assert carried.filter(split=part)["value__carried"].is_in(known.implode()).all()
    table = exported(data, place / "readings_out.csv")
    assert sum(row["value"] == "" for row in table) == rows["value"].null_count()
    assert set(table[0]) == set(readings().columns), "imputation is no repair: the cell stays empty"


def test_what_is_carried_depends_on_the_rows_alone(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_table(place / "readings.csv", readings())
    options = (KEY, "data.target=price", FORWARD, "data.shards.target_bytes=65536")
    source = place / "readings.csv"
    once = prepared("table", source, *options, output=tmp_path / "a")
    monkeypatch.setattr(forward_fill, "_PARTITION_CELLS", 300)
    again = prepared("table", source, *options, output=tmp_path / "b")
    assert len(once.manifest.shards) > 3
    assert digests(once.folder) == digests(again.folder)
    assert once.manifest.shards == again.manifest.shards
    whole = prepared("table", source, *options[:-1], output=tmp_path / "a")
    assert whole.manifest.fingerprint != once.manifest.fingerprint
    assert shards(whole).equals(shards(once))
    plain = prepared("table", source, *options[:2], output=tmp_path / "a")
    assert plain.manifest.fingerprint != whole.manifest.fingerprint
    assert "value__carried" not in shards(plain).columns


def test_carried_values_reach_the_model_s_features(place: Path) -> None:
    write_table(place / "readings.csv", readings())
    source, target = place / "readings.csv", "data.target=price"
    data = prepared("table", source, KEY, target, FORWARD, output=place / "runs")
    view = TableView(json.dumps(data.manifest.transform), seed=0)
    (shard,) = [shard for shard in data.manifest.shards if shard.split == "train"]
    rows = pq.read_table(data.folder / shard.path, columns=["record_id", *view.columns])
    features = view.arrays(rows, None)["features"]
    names = view.transform.feature_names
    frame = pl.DataFrame(pl.from_arrow(rows))
    median = frame["value"].median()
    known = frame.select(pl.coalesce("value", "value__carried").fill_null(median)).to_series()
    scores = (known - frame["value"].mean()) / frame["value"].std(ddof=0)
    np.testing.assert_allclose(features[:, names.index("value")], scores, atol=1e-5)
    missing = frame["value"].is_null().to_numpy()
    np.testing.assert_array_equal(features[:, names.index("value:missing")], missing)


def test_a_forward_fill_that_cannot_be_is_refused_in_one_line(place: Path) -> None:
    write_table(place / "readings.csv", readings())
    cases = {
        "data.encode.columns.value.impute={method: forward, by: [sensr], order: day}": (
            "columns.value.impute.by = 'sensr': the table has no such column; did you mean sensor?"
        ),
        "data.encode.impute={method: forward, by: [sensor], order: id}": (
            "data.encode.impute.order: 'id' holds identifier"
        ),
        "data.encode.columns.value.impute={method: forward, by: [value], order: day}": (
            "'value' is carried forward by itself"
        ),
        "data.encode.columns.value.impute={method: foward, by: [sensor], order: day}": (
            "data.encode.columns.value.impute.method = 'foward': must be 'forward'"
        ),
        "data.encode.columns.value.impute={method: forward, by: [sensor]}": (
            "data.encode.columns.value.impute.order is missing"
        ),
        "data.encode.columns.value.impute=foward": "must be ",
    }
    for option, expected in cases.items():
        with pytest.raises((DataError, RecipeError)) as refused:
            prepared("table", place / "readings.csv", KEY, option, output=place / "runs")
        message = str(refused.value)
        assert expected in message and len(message.splitlines()) == 1, message


def test_rules_call_a_column_as_the_source_does(tmp_path: Path) -> None:
    table = frame(200).with_columns(origin=pl.Series(range(200)), record_id=pl.lit("x"))
    write_table(tmp_path / "own.csv", table.with_columns(twice=pl.col("origin") * 2))
    data = prepared(
        *("table", tmp_path / "own.csv", KEY),
        'data.clean.rules=["twice == 2 * origin", "twice + 0 == origin"]',
        output=tmp_path / "runs",
    )
    broken = [line for line in findings(data) if line["reason"] == "rule_violated"]
    assert len(broken) == 199 and broken[0]["detail"] == "twice + 0 == origin"


def test_a_row_without_its_target_says_its_line(tmp_path: Path) -> None:
    table = frame(200)
    table[9, "grade"] = None
    write_table(tmp_path / "orders.csv", table)
    options = ("data.target=grade", "data.columns.grade.kind=category")
    data = prepared("table", tmp_path / "orders.csv", KEY, *options, output=tmp_path / "runs")
    (line,) = [line for line in findings(data) if line["reason"] == "missing_label"]
    assert (line["record"], line["line"], line["column"]) == (10, 11, "grade")


def test_a_policy_that_cannot_be_is_refused_where_it_was_written(tmp_path: Path) -> None:
    recipe = tmp_path / "own.yaml"
    recipe.write_text(
        "task: tabular_regression\nname: own\ndata:\n  source: {path: a.csv}\n  target: y\n"
        "  clean:\n    policy:\n      outlier: keep\n"
    )
    for policy in ("encoding=quarantine", "blank=keep"):
        with pytest.raises(RecipeError, match=f"^override 'data.clean.policy.{policy}'"):
            load_recipe(str(recipe), [f"data.clean.policy.{policy}"])
    recipe.write_text(recipe.read_text().replace("outlier: keep", "outlier: repair"))
    with pytest.raises(RecipeError, match=r"own\.yaml, line 8: data\.clean: outlier: repair"):
        load_recipe(str(recipe))


def test_what_is_fitted_comes_from_train_alone(place: Path) -> None:
    data = prepared(
        *("table", place / "orders.csv", KEY, "data.target=grade"),
        *("data.encode.columns.amount={scale: zscore, impute: mean}",),
        output=place / "runs",
    )
    text = json.dumps(data.manifest.transform)
    train = shards(data).filter(split="train")["amount"]
    mean = train.mean()
    assert isinstance(mean, float)
    numbers = [value for value in _numbers(json.loads(text))]
    assert any(value == pytest.approx(mean, rel=1e-9) for value in numbers)
    whole = frame()["amount"].mean()
    assert isinstance(whole, float) and not any(
        value == pytest.approx(whole, rel=1e-9) for value in numbers
    )


def _numbers(value: object) -> list[float]:
    if isinstance(value, dict):
        return [number for part in value.values() for number in _numbers(part)]
    if isinstance(value, list):
        return [number for part in value for number in _numbers(part)]
    return [float(value)] if isinstance(value, int | float) else []

"""Wrong input: one clear line with what, value, place, remedy; and nothing half written."""

import errno
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from pipelines.cli import app
from pipelines.recipe import load_recipe


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run a command that must be refused with exit code 2; returns its one line."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, code: int = 2) -> str:
        done = CliRunner().invoke(app, list(arguments))
        assert done.exit_code == code, done.output
        assert done.stdout == ""
        lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
        assert len(lines) == 1, done.stderr
        assert "Traceback" not in done.stderr
        left = [
            p for p in tmp_path.rglob("*") if p.name == "manifest.json" or ".preparing" in p.name
        ]
        assert not left, "nothing that looks finished, nothing half done"
        assert not list(tmp_path.glob("runs/*/run.json")), "no run was opened"
        return lines[0]

    return run


def picture(side_px: int = 16, seed: int = 0) -> bytes:
    values = np.random.default_rng(seed).integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    return file.getvalue()


def write_classes(folder: Path, counts: dict[str, int]) -> Path:
    for number, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            (folder / name / f"{index}.png").write_bytes(picture(seed=1000 * number + index))
    return folder


def test_a_missing_folder_names_its_neighbour(refused: Callable[..., str], tmp_path: Path) -> None:
    write_classes(tmp_path / "flowers", {"a": 1, "b": 1})
    line = refused("plan", "images", "data.source.path=flower")
    assert "data.source.path = flower does not exist; did you mean flowers?" in line


def test_an_empty_folder(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    line = refused("plan", "images", "data.source.path=empty")
    assert "data.source.path = empty holds no records" in line
    assert "one folder per class" in line


def test_a_parquet_without_the_column(refused: Callable[..., str], tmp_path: Path) -> None:
    pq.write_table(pa.table({"img": [picture()], "label": ["a"]}), tmp_path / "data.parquet")
    line = refused("plan", "images", "data.source.path=data.parquet")
    assert "data.parquet: no column 'image'; did you mean img?" in line


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.epoch=3", "train.epoch is not a setting of train; did you mean train.epochs?"),
        ("train.epochs=many", "train.epochs"),
        ("train.epochs=0", "train.epochs = 0"),
        ("augment={transforms: [HorizontalFlop]}", "HorizontalFlip"),
        ("augment={transforms: [{HorizontalFlip: {prob: 0.5}}]}", "prob"),
        ("data.split={val: 0.6, test: 0.5}", "leaves no record to train on"),
        ("train.schedule.warmup_epochs=99", "the warm-up must end before train.epochs = 10"),
        ("cluster.device=cuda", "set cluster.device=auto"),
        ("cluster.workers=65", "cluster.workers = 65 cannot each have a record in a step"),
        ("output=s3://bucket/runs", "output"),
        ("model.name=resnets", "resnet"),
    ],
)
def test_impossible_settings(refused: Callable[..., str], override: str, words: str) -> None:
    assert words in refused("plan", "digits", override)


def test_an_unknown_recipe_names_the_shipped_ones(refused: Callable[..., str]) -> None:
    line = refused("run", "digit")
    assert "digits" in line and "images" in line


def test_a_mistake_in_a_file_is_told_with_its_line(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    text = "name: mine\ndata:\n  source:\n    path: here\ntrain:\n  epochs: 3\n  batchsize: 8\n"
    (tmp_path / "mine.yaml").write_text(text)
    line = refused("recipe", "mine.yaml")
    assert "line 7" in line and "did you mean train.batch_size?" in line


def test_an_unreachable_tracking_server_is_told_before_anything_starts(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://name:secret@127.0.0.1:9")
    line = refused("run", "digits", code=1)
    assert "127.0.0.1:9" in line and "secret" not in line


def test_train_without_prepared_data(refused: Callable[..., str]) -> None:
    assert "`prepare digits` first" in refused("train", "digits")


def test_evaluate_without_a_package(refused: Callable[..., str]) -> None:
    assert "holds no package of recipe digits" in refused("evaluate", "digits")


def test_resume_without_a_run(refused: Callable[..., str]) -> None:
    assert "no training of recipe digits" in refused("run", "digits", "resume=true")


def test_a_full_disk_while_the_source_is_listed(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **named: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("components.sources.chunks.pq.write_table", full)
    line = refused("plan", "digits", code=1)
    assert "No space left on device" in line and "output=FOLDER" in line


def test_json_prints_one_object_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        app(["plan", "digits", "--json"])
    assert ended.value.code == 0
    (line,) = capfd.readouterr().out.splitlines()
    plan = json.loads(line)
    assert plan["records"] == {"train": 1257, "val": 270, "test": 270}
    assert plan["resources"]["num_workers"] == 1
    assert plan["resources"]["data_cpus"] >= 1


def test_the_printed_recipe_is_the_recipe(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        app(["recipe", "digits", "train.epochs=3"])
    (tmp_path / "again.yaml").write_text(capfd.readouterr().out)
    assert load_recipe(str(tmp_path / "again.yaml")) == load_recipe("digits", ["train.epochs=3"])


@pytest.mark.ray
@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({"a": 30}, "only one class, 'a'"),
        ({"a": 30, "b": 1}, "class 'b' has 1 usable record"),
        ({"a": 30, "b": 0}, "only one class, 'a'"),
    ],
)
def test_classes_that_cannot_be_learned(
    ray_cluster: None,
    refused: Callable[..., str],
    tmp_path: Path,
    counts: dict[str, int],
    words: str,
) -> None:
    write_classes(tmp_path / "images", counts)
    line = refused("prepare", "images", "data.clean.min_size_px=8")
    assert words in line


@pytest.mark.ray
def test_too_many_unreadable_files_are_told_by_reason(
    ray_cluster: None, refused: Callable[..., str], tmp_path: Path
) -> None:
    folder = write_classes(tmp_path / "images", {"a": 8, "b": 8})
    (folder / "a" / "empty.png").write_bytes(b"")
    (folder / "b" / "text.png").write_bytes(b"this is no image")
    (folder / "b" / "cut.png").write_bytes(picture(64)[:3000])
    limit = "data.clean.max_quarantined_share=0.05"
    line = refused("prepare", "images", "data.clean.min_size_px=8", limit)
    assert "cleaning set aside 3 of 19 records (15.8%, limit 5.0%)" in line
    for reason in ("1 empty", "1 not_an_image", "1 truncated", "a/empty.png"):
        assert reason in line
    assert "Raise data.clean.max_quarantined_share" in line

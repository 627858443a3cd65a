import dataclasses
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from components.records.accounting import Accounting
from components.reports.data import AugmentedExample, Mistake, ReportData
from components.reports.page import render_report
from tests.components.reports.sample import regression_sample


@pytest.fixture
def short_run(run: ReportData) -> ReportData:
    """The digits run without what takes long to draw."""
    return dataclasses.replace(
        run,
        history=(),
        steps=(),
        augmented=(),
        confusion={"val": np.array([[3, 1], [0, 4]])},
        classes=["cat", "dog"],
    )


VOID = {"meta", "link", "img", "hr", "br"}


class Page(HTMLParser):
    """Collects what the tests ask about; refuses tags that do not nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.images: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if "id" in values:
            self.ids.append(str(values["id"]))
        if tag == "a":
            self.links.append(str(values["href"]))
        if tag == "img":
            self.images.append(str(values["src"]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if "id" in values:
            self.ids.append(str(values["id"]))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> does not close what is open"

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parse(html: str) -> Page:
    page = Page()
    page.feed(html)
    page.close()
    assert page.open == []
    return page


def test_page_is_one_well_formed_file_that_loads_nothing(html: str) -> None:
    page = parse(html)
    assert len(page.ids) == len(set(page.ids))
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert all(image.startswith("data:image/") for image in page.images)
    addresses = set(re.findall(r"""https?://[^\s"'<]+""", html))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "<script" not in html
    assert set(re.findall(r'url\(#([^)"]+)\)', html)) <= set(page.ids)


def test_page_shows_the_numbers_of_the_run(html: str) -> None:
    text = re.sub(r"\s+", " ", " ".join(parse(html).text))
    for expected in (
        "97.2 %",
        "1,797 read",
        "1,789 prepared",
        "5 set aside",
        "3 duplicates",
        "the file ends after 312 of 410 bytes",
        "97 % sure · loss 3.51",
        "1 min 00 s in all",
        "6.8 % of the time was spent waiting for data",
        "learning_rate: 0.003",
        "9f2c1e7a5b",
    ):
        assert expected in text
    # 6 originals with 7 views each, 5 mistakes, 1 thumbnail of a record set aside.
    assert len(parse(html).images) == 6 * 8 + 5 + 1


@pytest.mark.processes
def test_same_run_gives_the_same_bytes(short_run: ReportData) -> None:
    assert render_report(short_run) == render_report(short_run)


@pytest.mark.processes
def test_validation_is_judged_where_there_is_no_test_split(short_run: ReportData) -> None:
    assert "Confusion matrix, val" in render_report(short_run)


@pytest.mark.processes
def test_diverged_training_has_a_page(short_run: ReportData) -> None:
    history = [{"epoch": 0, "global_step": 9, "train_loss": math.inf, "val_loss": math.nan}]
    kept = {"epoch": 0, "val_loss": math.nan, "val_accuracy": 0.1}
    html = render_report(dataclasses.replace(short_run, history=history, kept=kept))
    assert "epoch 1 of 1, the best by validation accuracy: accuracy 10.0 %, loss nan." in html


@pytest.mark.processes
def test_the_epoch_that_was_kept_is_told(short_run: ReportData) -> None:
    history = [{"epoch": epoch, "val_loss": 0.25, "val_accuracy": 0.9} for epoch in range(2)]
    short = dataclasses.replace(short_run, history=history, kept=history[0], monitor="f1_macro")
    said = "epoch 1 of 2, the best by validation F1 (macro): accuracy 90.0 %, loss 0.2500."
    assert said in render_report(short)


def test_names_from_the_data_cannot_become_markup(short_run: ReportData) -> None:
    evil = '<img src=x onerror="a()">'
    mistake = dataclasses.replace(short_run.mistakes[0], label=evil, origin=f'"{evil}/{evil}')
    html = render_report(
        dataclasses.replace(
            short_run,
            title=evil,
            headline={evil: evil},
            classes=[evil, "dog"],
            class_counts={"train": {evil: 3}},
            mistakes=[mistake],
            recipe_yaml=f"name: {evil}</pre>",
            accounting=Accounting(
                read=1, prepared=0, quarantined=1, duplicates=0, quarantined_by_reason={evil: 1}
            ),
        )
    )
    page = parse(html)
    assert 'onerror="a()"' not in html
    assert all(image.startswith("data:") for image in page.images)
    assert evil in "".join(page.text)


def test_run_that_failed_early_still_has_a_page() -> None:
    books = Accounting(read=0, prepared=0, quarantined=0, duplicates=0, quarantined_by_reason={})
    html = render_report(ReportData("early", "", "2026-03-14 09:26 UTC", {}, books))
    page = parse(html)
    assert page.ids == ["records", "recipe"]
    assert page.images == []


@pytest.mark.processes
def test_photographs_and_many_classes_stay_below_1_5_megabytes(short_run: ReportData) -> None:
    rng = np.random.default_rng(0)
    # Detail like that of a photograph: coarse colour with fine noise on it.
    coarse = rng.integers(0, 256, (12, 9, 3), dtype=np.uint8).repeat(45, 0).repeat(45, 1)
    photo = np.clip(coarse + rng.normal(0, 6, coarse.shape), 0, 255).astype(np.uint8)
    classes = [f"class {index}" for index in range(200)]
    confusion = rng.integers(0, 3, (200, 200))
    html = render_report(
        dataclasses.replace(
            short_run,
            classes=classes,
            confusion={"test": confusion},
            class_counts={"train": dict.fromkeys(classes, 9)},
            per_class={
                "test": [dict(short_run.per_class["test"][0], name=name) for name in classes]
            },
            mistakes=[Mistake("0" * 32, "a/b.jpg", "a", "b", 0.9, 2.3, photo)] * 30,
            augmented=[AugmentedExample("0" * 32, "a", photo, [photo] * 9)] * 9,
        )
    )
    page = parse(html)
    # 8 records with 7 views each and 24 mistakes are shown, and the matrix is one picture.
    assert len(page.images) == 8 * 8 + 24 + 1
    assert len(html.encode()) < 1_500_000


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", " ".join(parse(html).text))


@pytest.mark.processes
def test_a_model_of_numbers_has_a_page_without_classes_and_pictures() -> None:
    html = render_report(regression_sample())
    page, text = parse(html), text_of(html)
    assert len(page.ids) == len(set(page.ids))
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert {"learning", "results", "mistakes", "records", "recipe"} <= set(page.ids)
    for expected in (
        "epoch 12 of 12, the best by validation RMSE: RMSE 46,245, R² 0.8180, loss 0.1233.",
        "RMSE and MAE are in the unit of the target.",
        "47,312.4",
        "0.8321",
        "Predicted and true values",
        "How far off the model is",
        "housing.csv#17 500,001 110,000 6.20",
        "outlier kept 1,412",
        "housing.csv total_bedrooms: 'NA' → missing",
    ):
        assert expected in text, expected
    assert "look at them &lt;b&gt;" in html
    for absent in ("Confusion", "accuracy", "augment", "macro"):
        assert absent not in html.split('id="recipe"')[0].split("<main>")[1], absent


@pytest.mark.processes
def test_no_finite_prediction_leaves_the_figures_out() -> None:
    data = regression_sample()
    lost = dataclasses.replace(data.values["test"], predicted_N=np.full(4000, np.nan))
    html = render_report(dataclasses.replace(data, values={"test": lost}))
    assert "Predicted and true values" not in html


@pytest.mark.processes
def test_worst_records_of_classes_are_a_table_too(short_run: ReportData) -> None:
    short = dataclasses.replace(short_run, mistakes=(), worst=regression_sample().worst)
    text = text_of(render_report(short))
    assert "Worst mistakes" in text and "ocean_proximity" in text and "Confusion matrix" in text

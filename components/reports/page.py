"""One self-contained HTML page per run: what happened to the data and what the model learned."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from components.reports import figures, regression_figures
from components.reports.data import ReportData
from components.reports.summary import kept_sentence, remarks, top_confusions
from components.reports.svg import Drawing
from components.reports.thumbnails import thumbnail

MAX_AUGMENTED = 8
MAX_MISTAKES = 24
MAX_QUARANTINE_EXAMPLES = 12
MAX_VIEWS = 7


def render_report(data: ReportData) -> str:
    """Render the page: one HTML document that needs no other file and no network.

    Sections without data are left out. Pictures are shrunk to 192 px; at most 8 augmented
    records with 7 views each, 24 mistakes and 12 quarantined records are shown.

    Args:
        data: What the run gathered.

    Returns:
        The document as text; write it as UTF-8.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["seconds"] = figures.format_seconds
    environment.filters["thumbnail"] = thumbnail
    environment.filters["metric"] = _metric
    template = environment.get_template("template.html.j2")
    return template.render(data=data, remarks=remarks(data), **_sections(data))


def _sections(data: ReportData) -> dict[str, Any]:
    split = _judged_split(data)
    matrix = data.confusion.get(split)
    return {
        "curves": figures.learning_curves(data.history, data.steps),
        "split": split,
        "confusion": None
        if matrix is None
        else figures.confusion_matrix(matrix, data.classes, f"confusion-{split}"),
        "confusions": [] if matrix is None else top_confusions(matrix, data.classes),
        "per_class": sorted(data.per_class.get(split, ()), key=_f1),
        "metric_names": list(dict.fromkeys(n for m in data.metrics.values() for n in m)),
        "kept": kept_sentence(data),
        "figures": _value_figures(data, split),
        "balance": figures.class_balance(data.class_counts),
        "timings": figures.timings(data.timings_s),
        "augmented": data.augmented[:MAX_AUGMENTED],
        "max_views": MAX_VIEWS,
        "mistakes": data.mistakes[:MAX_MISTAKES],
        "worst": data.worst[:MAX_MISTAKES],
        "worst_columns": list(dict.fromkeys(n for item in data.worst for n in item.values)),
        "sample_columns": list(
            dict.fromkeys(n for item in data.samples for n in item.values if n != "record_id")
        ),
        "findings": sorted(data.findings, key=lambda found: -found.count),
        "quarantine_examples": data.quarantine_examples[:MAX_QUARANTINE_EXAMPLES],
    }


def _value_figures(data: ReportData, split: str) -> list[Drawing]:
    values = data.values.get(split)
    if values is None:
        return []
    drawings = [
        regression_figures.predicted_and_true(values, f"values-{split}"),
        regression_figures.residuals(values, f"residuals-{split}"),
    ]
    return [drawing for drawing in drawings if drawing is not None]


def _judged_split(data: ReportData) -> str:
    # The test split says what the model is worth; without one, validation has to.
    judged = {*data.confusion, *data.values}
    return next((split for split in ("test", "val") if split in judged), "")


def _metric(value: float) -> str:
    return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4f}"


def _f1(score: Mapping[str, object]) -> float:
    return float(str(score["f1"]))

"""The judges: scores of `prepare` from its output files alone."""

from tests.dirty.image_judge import judge_images
from tests.dirty.score import Score, Verdict
from tests.dirty.table_judge import judge_table, judge_variants

__all__ = ["Score", "Verdict", "judge_images", "judge_table", "judge_variants"]

"""From a recipe and a prepared data set to its task: the one place that knows every kind."""

import json
from pathlib import Path

from components.errors import DataError, RecipeError
from components.images.fit import ChannelTransform
from components.models.shapes import ImageShape, InputShape
from components.records.manifest import Manifest
from components.tasks.image_classification import ImageClassification
from components.tasks.image_view import ImageView
from components.tasks.task import Task
from components.tasks.view import View
from pipelines.recipe import (
    ImageRecipe,
    Recipe,
    TableClassificationRecipe,
    TableRecipe,
    TableRegressionRecipe,
)


def require_target(recipe: Recipe) -> None:
    """Refuse to train where nothing says what is to be predicted.

    Raises:
        RecipeError: The recipe of a table names no target.
    """
    if isinstance(recipe, TableRecipe) and recipe.data.target is None:
        raise RecipeError(
            f"recipe {recipe.name}: data.target is not set; name the column that the model "
            "predicts, as data.target=price (prepare alone needs none)"
        )


def build_task(recipe: Recipe, manifest: Manifest, folder: Path) -> Task:
    """The task of a recipe, with what was fitted on the train split.

    Args:
        recipe: The recipe.
        manifest: Of the data set that was prepared for it.
        folder: Where that lies.

    Raises:
        RecipeError: The recipe names no target.
        DataError: The data set was prepared for another kind of recipe.
    """
    require_target(recipe)
    if isinstance(recipe, ImageRecipe):
        return ImageClassification(
            input_config=recipe.input,
            transform=image_transform(manifest),
            classes=tuple(manifest.classes),
            label_smoothing=recipe.train.label_smoothing,
        )
    assert isinstance(recipe, TableRecipe)
    return _table_task(recipe, manifest, folder)


def _table_task(recipe: TableRecipe, manifest: Manifest, folder: Path) -> Task:
    # What reads tables is only loaded for them.
    from components.tables.fitting.transform import TableTransform
    from components.tables.schema import TableSchema
    from components.tasks.tabular_classification import TabularClassification
    from components.tasks.tabular_regression import TabularRegression

    if manifest.table_schema is None or manifest.target is None:
        raise DataError(
            f"{folder} was prepared without a table or without a target; run prepare with "
            f"data.target={recipe.data.target}"
        )
    schema = TableSchema.model_validate_json(json.dumps(manifest.table_schema))
    transform = TableTransform.from_json(json.dumps(manifest.transform))
    if isinstance(recipe, TableClassificationRecipe):
        smoothing = recipe.train.label_smoothing
        return TabularClassification(schema, transform, smoothing, recipe.seed)
    assert isinstance(recipe, TableRegressionRecipe)
    return TabularRegression(
        schema, transform, recipe.train.loss, recipe.train.huber_delta, recipe.seed
    )


def image_transform(manifest: Manifest) -> ChannelTransform:
    """The channel statistics of a data set of pictures."""
    return ChannelTransform.model_validate(manifest.transform)


def training_view(recipe: Recipe, task: Task) -> View:
    """How the recipe's prepared records become what the model sees while it is trained."""
    return image_view(recipe) if isinstance(recipe, ImageRecipe) else task.view()


def image_view(recipe: ImageRecipe) -> ImageView:
    """How the recipe's records become pictures."""
    return ImageView.of(recipe.input.image_px, recipe.input.geometry, recipe.augment, recipe.seed)


def expected_model(
    recipe: Recipe, task: Task | None, declared_classes: int
) -> tuple[InputShape, int] | None:
    """What the model will take, and how much it puts out; None where only prepare can tell.

    Args:
        recipe: The recipe.
        task: Its task, where the data is prepared.
        declared_classes: Class folders of a source of pictures; 0 where they are not known yet.
    """
    if task is not None:
        return task.shape, task.num_outputs
    if isinstance(recipe, ImageRecipe):
        return ImageShape(recipe.input.image_px), max(2, declared_classes)
    return None

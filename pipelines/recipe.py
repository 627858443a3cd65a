"""The recipe: the typed YAML of a whole run, its loading, its overrides and its fingerprint."""

import difflib
import hashlib
import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import Field, TypeAdapter, ValidationError

from components.config import Config
from components.errors import HeadraceError, RecipeError
from components.models.registry import TransformersConfig
from components.records.files import public_path
from pipelines.recipe_document import (
    Document,
    Place,
    Problem,
    dump_document,
    parse_document,
)
from pipelines.recipe_kinds import (
    KINDS,
    DataConfig,
    ImageRecipe,
    Recipe,
    TableClassificationRecipe,
    TableDataConfig,
    TableRecipe,
    TableRegressionRecipe,
)
from pipelines.recipe_overrides import lay_over
from pipelines.recipe_problems import (
    chosen_variant,
    default_tag,
    explain,
    is_single,
    listed,
    sections,
    shown,
    tag_field,
)

__all__ = [
    "DataConfig",
    "ImageRecipe",
    "Recipe",
    "TableClassificationRecipe",
    "TableDataConfig",
    "TableRecipe",
    "TableRegressionRecipe",
    "load_recipe",
    "public_recipe",
    "recipe_fingerprint",
    "recipe_schema",
    "resolved_yaml",
    "shipped_recipes",
]

# Settings that say where a run happens and is filed, not what it computes.
_NOT_IN_FINGERPRINT = frozenset({"output", "resume", "tracking", "cluster"})
_KIND_OF_TASK = {
    task: kind for kind in KINDS for task in get_args(kind.model_fields["task"].annotation)
}
# What a person writes last, and so reads last.
_LAST = ("model", "train", "compression", "tracking", "cluster")


def shipped_recipes() -> list[str]:
    """Return the names of the recipes that come with Headrace, sorted."""
    folder = resources.files("pipelines") / "recipes"
    names = (entry.name for entry in folder.iterdir())
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))


def load_recipe(reference: str, overrides: Sequence[str] = ()) -> Recipe:
    """Load a recipe and lay overrides over it.

    A section that is written empty means its defaults. A choice that names no variant means the
    default one (`train.optimizer.learning_rate=0.05` alone is of SGD). When an override changes the
    variant of a section, as `train.optimizer.name=adamw`, the settings that the file gives for the
    old variant and that the new one does not know (`momentum`) are dropped; those that both know
    (`learning_rate`) are kept. So it is with `task`, which decides the kind of recipe; a recipe
    that names none classifies images.

    Args:
        reference: Path of a YAML file, or the bare name of a shipped recipe.
        overrides: `a.b.c=value`, applied in order; values are read as in the file.

    Raises:
        RecipeError: The recipe is refused. Every problem that was found has one line in the
            message with the place, the setting, its value and what to do.
    """
    text, title = _read(reference)
    written = parse_document(text, title)
    document = lay_over(written, overrides)
    kind, before = _kind_of(document), _kind_of(written)
    if kind is None:
        raise RecipeError(str(_unknown_task(document)))
    if before is not None and before is not kind:
        _drop_strangers(document, before, kind, document.values)
    _settle(document, written, kind)
    problems = list(document.problems)
    recipe = None
    try:
        # Strict, and from JSON: a list may be a tuple, but "3" is no number and true no 1.
        recipe = kind.model_validate_json(json.dumps(document.values), strict=True)
    except ValidationError as error:
        problems += explain(error, kind, document)
    except HeadraceError as error:
        problems.append(Problem(Place(0, title), str(error)))
    if recipe is None or problems:
        lines = dict.fromkeys(str(problem) for problem in sorted(problems, key=lambda p: p.place))
        raise RecipeError("\n".join(lines))
    return recipe


def _read(reference: str) -> tuple[str, str]:
    """Return the text of a recipe and what messages call it."""
    shipped = shipped_recipes()
    if reference in shipped:
        file = resources.files("pipelines") / "recipes" / f"{reference}.yaml"
        return file.read_text(encoding="utf-8"), f"recipe {reference}.yaml"
    try:
        return Path(reference).read_text(encoding="utf-8-sig"), f"recipe {reference}"
    except (FileNotFoundError, NotADirectoryError):
        near = difflib.get_close_matches(Path(reference).stem, shipped, n=1, cutoff=0.0)
        names = ", ".join(near + [name for name in shipped if name not in near])
        raise RecipeError(
            f"recipe {reference}: no such file; the shipped recipes are {names}"
        ) from None
    except UnicodeDecodeError as error:
        raise RecipeError(f"recipe {reference}: not UTF-8 text ({error.reason})") from error
    except OSError as error:
        raise RecipeError(f"recipe {reference}: cannot be read: {error.strerror}") from error


def _kind_of(document: Document) -> type[Recipe] | None:
    """The kind of recipe that a document is, by its task; None where no task has that name."""
    task = document.values.get("task")
    if task is None:
        return KINDS[0]
    return _KIND_OF_TASK.get(task) if isinstance(task, str) else None


def _unknown_task(document: Document) -> Problem:
    task = document.values["task"]
    near = difflib.get_close_matches(str(task), _KIND_OF_TASK, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]}?" if near else ""
    names = ", ".join(_KIND_OF_TASK)
    return Problem(document.place(("task",)), f"task = {shown(task)}: must be one of {names}{hint}")


def _drop_strangers(
    document: Document,
    before: type[Config],
    now: type[Config],
    values: dict[str, Any],
    path: tuple[str, ...] = (),
) -> None:
    """Drop what the file says for another kind of recipe, and what the new kind does not know."""
    for name in [name for name in values if name in before.model_fields]:
        here = (*path, name)
        if name not in now.model_fields:
            if document.place(here).from_file:
                del values[name]
            continue
        if isinstance(values[name], dict):
            old = chosen_variant(before.model_fields[name], values[name])
            new = chosen_variant(now.model_fields[name], values[name])
            if old is not None and new is not None and old is not new:
                _drop_strangers(document, old, new, values[name], here)


def _settle(document: Document, written: Document, kind: type[Recipe]) -> None:
    """Fill in what a section leaves unsaid, and drop what an override made meaningless."""
    if document.values.get("task", ...) is None:
        del document.values["task"]
    _open_empty_sections(kind, document.values)
    before = {path: section for path, _, section in sections(kind, written.values)}
    for path, field, section in sections(kind, document.values):
        name = tag_field(field)
        if name is None:
            continue
        default = default_tag(field)
        if name not in section and default is not None:
            section[name] = default
        old = chosen_variant(field, before.get(path, {}))
        new = chosen_variant(field, section)
        if old is None or new is None or old is new:
            continue
        for key in [key for key in section if key in old.model_fields]:
            if key not in new.model_fields and document.place((*path, key)).from_file:
                del section[key]


def _open_empty_sections(model: type[Config], values: dict[str, Any]) -> None:
    """Let `train:` with nothing under it mean the defaults."""
    _open_empty(model, values)
    for _, field, section in sections(model, values):
        chosen = chosen_variant(field, section)
        if chosen is not None:
            _open_empty(chosen, section)


def _open_empty(model: type[Config], values: dict[str, Any]) -> None:
    for name, field in model.model_fields.items():
        opens = is_single(field.annotation) or listed(field.annotation) is not None
        if name in values and values[name] is None and opens:
            if field.is_required():
                values[name] = {}
            else:
                del values[name]


def public_recipe(recipe: Recipe) -> Recipe:
    """The recipe as it may be kept and shown: without credentials, paths relative to here.

    It loads and means the same, from the same working directory.
    """
    source = recipe.data.source
    path = {"path": public_path(source.path)}
    data = recipe.data.model_copy(update={"source": source.model_copy(update=path)})
    model = recipe.model
    if isinstance(model, TransformersConfig) and model.checkpoint is not None:
        model = model.model_copy(update={"checkpoint": public_path(model.checkpoint)})
    output = public_path(recipe.output)
    return recipe.model_copy(update={"data": data, "model": model, "output": output})


def resolved_yaml(recipe: Recipe) -> str:
    """Write a recipe with every default filled in; loading it gives an equal recipe."""
    values = recipe.model_dump(mode="json")
    last = {name: values.pop(name) for name in _LAST}
    return dump_document(values | last)


def recipe_schema() -> dict[str, Any]:
    """Return the JSON schema of recipes, with descriptions, for editors."""
    every = Annotated[
        ImageRecipe | TableClassificationRecipe | TableRegressionRecipe,
        Field(discriminator="task"),
    ]
    schema = TypeAdapter[Recipe](every).json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Recipe", **schema}


def recipe_fingerprint(recipe: Recipe) -> str:
    """Return the SHA-256 (64 hex digits) of what a recipe computes.

    Where it runs and is filed (`output`, `resume`, `tracking`, `cluster`) is left out.
    """
    values = recipe.model_dump(mode="json", exclude=set(_NOT_IN_FINGERPRINT))
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()

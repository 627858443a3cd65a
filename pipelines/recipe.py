"""The recipe: the typed YAML of a whole run, its loading, its overrides and its fingerprint."""

import difflib
import hashlib
import json
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from clusters.resources import ClusterConfig
from components.config import Config
from components.errors import HeadraceError, RecipeError
from components.images.augment import AugmentConfig
from components.images.geometry import InputConfig
from components.images.inspect import CleanConfig
from components.images.store import StoreConfig
from components.models.registry import ConvNetConfig, ModelConfig, TransformersConfig
from components.records.files import public_path
from components.records.shards import ShardConfig
from components.records.sources import SourceConfig
from components.records.split import SplitConfig
from components.tracking.config import TrackingConfig
from components.training.config import TrainConfig
from pipelines.recipe_checks import contradictions
from pipelines.recipe_document import (
    Document,
    Place,
    Problem,
    dump_document,
    parse_document,
)
from pipelines.recipe_overrides import lay_over
from pipelines.recipe_problems import (
    Contradictions,
    chosen_variant,
    default_tag,
    explain,
    is_single,
    sections,
    tag_field,
    variant_tagged,
)

# Settings that say where a run happens and is filed, not what it computes.
_NOT_IN_FINGERPRINT = frozenset({"output", "resume", "tracking", "cluster"})


def _local_folder(value: str) -> str:
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", value):
        raise ValueError(
            "runs are written to a folder of this machine or a shared mount, not to a URI; "
            "name a folder and copy the finished run from there"
        )
    if value.startswith("~"):
        raise ValueError("only a shell knows what ~ means; write the whole path")
    return value


class DataConfig(Config):
    """From raw records to prepared shards: what `prepare` does, once."""

    source: SourceConfig
    """Where the records come from."""
    clean: CleanConfig = CleanConfig()
    """Which records are set aside, and how many may be."""
    store: StoreConfig = StoreConfig()
    """How prepared images are stored."""
    split: SplitConfig = SplitConfig()
    """How records are divided into train, val and test."""
    shards: ShardConfig = ShardConfig()
    """Sizes of the prepared files."""


class Recipe(Config):
    """Everything that decides a run, from the raw data to the trained package."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    """What runs of this recipe are called: lower-case letters, digits, `-` and `_`, at most 63."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Seed of the split, the order of records, the augmentation and the first weights."""
    output: Annotated[str, Field(min_length=1), AfterValidator(_local_folder)] = "runs"
    """Folder that everything is written to: local, or shared by all nodes of a cluster."""
    resume: bool = False
    """Continue the newest training of this recipe instead of starting a new one."""
    data: DataConfig
    """What is prepared, once: source, cleaning, storage, split."""
    input: InputConfig = InputConfig()
    """The picture that the model sees."""
    augment: AugmentConfig = AugmentConfig(policy="light")
    """Random changes to training pictures, new ones every epoch."""
    model: ModelConfig = ConvNetConfig()
    """The network."""
    train: TrainConfig = TrainConfig()
    """How the network is trained."""
    tracking: TrackingConfig = TrackingConfig()
    """How the run is filed in MLflow."""
    cluster: ClusterConfig = ClusterConfig()
    """Workers, devices and CPUs."""

    @model_validator(mode="after")
    def _can_be_together(self) -> Self:
        found = contradictions(
            source=self.data.source,
            split=self.data.split,
            picture=self.input,
            model=self.model,
            train=self.train,
            cluster=self.cluster,
        )
        if found:
            raise Contradictions(found)
        return self


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
    (`learning_rate`) are kept.

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
    _settle(document, written)
    problems = list(document.problems)
    recipe = None
    try:
        # Strict, and from JSON: a list may be a tuple, but "3" is no number and true no 1.
        recipe = Recipe.model_validate_json(json.dumps(document.values), strict=True)
    except ValidationError as error:
        problems += explain(error, Recipe, document)
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


def _settle(document: Document, written: Document) -> None:
    """Fill in what a section leaves unsaid, and drop what an override made meaningless."""
    _open_empty_sections(Recipe, document.values)
    before = {path: section for path, _, section in sections(Recipe, written.values)}
    for path, field, section in sections(Recipe, document.values):
        name = tag_field(field)
        if name is None:
            continue
        default = default_tag(field)
        if name not in section and default is not None:
            section[name] = default
        old = variant_tagged(field, before.get(path, {}).get(name, default))
        new = variant_tagged(field, section.get(name))
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
        if name in values and values[name] is None and is_single(field.annotation):
            if field.is_required():
                values[name] = {}
            else:
                del values[name]


def public_recipe(recipe: Recipe) -> Recipe:
    """The recipe as it may be kept and shown: without credentials, paths relative to here.

    It loads and means the same, from the same working directory.
    """
    source = recipe.data.source
    data = recipe.data.model_copy(
        update={"source": source.model_copy(update={"path": public_path(source.path)})}
    )
    model = recipe.model
    if isinstance(model, TransformersConfig) and model.checkpoint is not None:
        model = model.model_copy(update={"checkpoint": public_path(model.checkpoint)})
    output = public_path(recipe.output)
    return recipe.model_copy(update={"data": data, "model": model, "output": output})


def resolved_yaml(recipe: Recipe) -> str:
    """Write a recipe with every default filled in; loading it gives an equal recipe."""
    return dump_document(recipe.model_dump(mode="json"))


def recipe_schema() -> dict[str, Any]:
    """Return the JSON schema of recipes, with descriptions, for editors."""
    schema = Recipe.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def recipe_fingerprint(recipe: Recipe) -> str:
    """Return the SHA-256 (64 hex digits) of what a recipe computes.

    Where it runs and is filed (`output`, `resume`, `tracking`, `cluster`) is left out.
    """
    values = recipe.model_dump(mode="json", exclude=set(_NOT_IN_FINGERPRINT))
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()

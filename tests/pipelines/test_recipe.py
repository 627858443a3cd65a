import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from components.errors import RecipeError
from components.models.stages import check_stages
from pipelines.modality import require_target
from pipelines.recipe import (
    ImageRecipe,
    TableClassificationRecipe,
    TableRegressionRecipe,
    load_recipe,
    recipe_fingerprint,
    recipe_schema,
    resolved_yaml,
    shipped_recipes,
)
from pipelines.recipe_document import dump_document, parse_document

SMALL = "name: small\ndata:\n  source: {path: images}\n"


def write(folder: Path, text: str) -> str:
    file = folder / "small.yaml"
    file.write_text(text)
    return str(file)


@pytest.fixture
def small(tmp_path: Path) -> str:
    return write(tmp_path, SMALL)


def refusal(reference: str, *overrides: str) -> list[str]:
    """The lines of the refusal, without the folder of the file."""
    with pytest.raises(RecipeError) as caught:
        load_recipe(reference, overrides)
    return str(caught.value).replace(str(Path(reference).parent) + "/", "").splitlines()


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_load_and_come_back_equal_from_their_resolved_yaml(
    name: str, tmp_path: Path
) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert load_recipe(write(tmp_path, resolved_yaml(recipe))) == recipe


def test_the_shipped_recipes_are_those_of_the_readme() -> None:
    tables = ["adult", "housing", "penguins", "table", "weather"]
    assert shipped_recipes() == sorted(["digits", "images", *tables])
    tasks = {name: load_recipe(name).task for name in shipped_recipes()}
    assert tasks["digits"] == tasks["images"] == "image_classification"
    assert {tasks[name] for name in ("adult", "penguins", "table")} == {"tabular_classification"}
    assert {tasks[name] for name in ("housing", "weather")} == {"tabular_regression"}
    assert load_recipe("digits").data.source.path == "builtin:digits"
    assert load_recipe("digits").input.image_px == 16
    assert load_recipe("images").input.image_px == 224


def test_shipped_recipes_mean_the_same_to_a_reader_of_yaml_1_1() -> None:
    for name in shipped_recipes():
        text = Path("pipelines/recipes", f"{name}.yaml").read_text()
        assert yaml.safe_load(text) == parse_document(text, name).values


def test_resolved_yaml_is_complete_and_stable(small: str) -> None:
    resolved = resolved_yaml(load_recipe(small))
    values = yaml.safe_load(resolved)
    assert sorted(values) == sorted(ImageRecipe.model_fields)
    assert list(values)[:4] == ["name", "task", "seed", "output"]
    assert list(values)[-5:] == ["model", "train", "compression", "tracking", "cluster"]
    assert values["train"]["optimizer"]["name"] == "sgd"
    assert values["data"]["store"]["short_side_px"] is None
    assert resolved == resolved_yaml(load_recipe(small))


def test_resolved_yaml_keeps_transforms_and_lists(tmp_path: Path) -> None:
    recipe = load_recipe(
        write(tmp_path, SMALL + "augment:\n  transforms:\n    - HorizontalFlip\n"
              "    - Rotate: {limit: [-10, 10], p: 0.5}\n"),
        ["model={name: resnet, blocks: [1, 2], width: 16}"],
    )  # fmt: skip
    assert load_recipe(write(tmp_path, resolved_yaml(recipe))) == recipe
    assert "blocks: [1, 2]" in resolved_yaml(recipe)


def test_every_problem_is_named_with_line_value_and_nearest_name(tmp_path: Path) -> None:
    text = SMALL + (
        "train:\n"  # line 4
        "  epoch: 3\n"
        "  epochs: 0\n"
        "  optimizer:\n"
        "    name: adam\n"
        "  schedule: {kind: cosin}\n"
        "  batch_size: '12'\n"
        "name: again\n"
        "sead: 3\n"
    )
    assert refusal(write(tmp_path, text)) == [
        "recipe small.yaml, line 5: train.epoch is not a setting of train; "
        "did you mean train.epochs?",
        "recipe small.yaml, line 6: train.epochs = 0: must be greater than or equal to 1",
        "recipe small.yaml, line 8: train.optimizer.name = 'adam': must be 'sgd' or 'adamw'; "
        "did you mean adamw?",
        "recipe small.yaml, line 9: train.schedule.kind = 'cosin': must be 'constant', 'linear', "
        "'exponential' or 'cosine'; did you mean cosine?",
        "recipe small.yaml, line 10: train.batch_size = '12': must be a whole number",
        "recipe small.yaml, line 11: name is given twice (first in line 1); remove one",
        "recipe small.yaml, line 12: sead is not a setting of a recipe; did you mean seed?",
    ]


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("train.epochs", "expected KEY=VALUE, as train.epochs=3"),
        ("train.epochs=", "expected KEY=VALUE, as train.epochs=3"),
        ("=3", "'' is no name of a setting"),
        ("train..epochs=3", "'train..epochs' is no name of a setting"),
        ("epochs=3", "epochs is not a setting of a recipe; did you mean train.epochs?"),
        ("train.zzz=3", "train.zzz is not a setting of train, which takes epochs, batch_size"),
        ("train.epochs=1.5", "train.epochs = 1.5: must be a whole number"),
        ("train.epochs=true", "train.epochs = true: must be a whole number"),
        ("train.epochs=null", "train.epochs = null: must be a whole number"),
        ("train.epochs=[3", "the value, line 1: not valid YAML"),
        ("train=3", "train = 3: must be a section with settings of its own"),
        ("train.epochs.x=3", "must be a whole number"),
        ("seed=-1", "seed = -1: must be greater than or equal to 0"),
        (f"seed={2**63}", "must be less than 9223372036854775808"),
        ("train.optimizer.learning_rate=.nan", "learning_rate = nan: must be"),
        ("data.source.path=\udc80", "holds characters that are no printable text"),
        ("seed=" + "9" * 5000, "must be a whole number"),
        ("resume=no", "resume = 'no': must be true or false"),
        ("name=Bad Name", "name = 'Bad Name': must match pattern"),
        ("output=s3://bucket/runs", "to a folder of this machine or a shared mount, not to a URI"),
        ("output=~/runs", "only a shell knows what ~ means; write the whole path"),
        ("output=''", "output = '': must have at least 1 character"),
        ("cluster.workers=many", "cluster.workers = 'many': must be a whole number or 'auto'"),
        ("model.name=vit", "model.name = 'vit': must be 'convnet', 'resnet' or 'transformers'"),
        ("augment.policy=flips", "augment: unknown policy 'flips'"),
        ("augment.transforms=[HorizontlFlip]", "did you mean 'HorizontalFlip'?"),
    ],
)  # fmt: skip
def test_a_bad_override_has_one_line_that_names_it(small: str, override: str, line: str) -> None:
    lines = refusal(small, override)
    assert len(lines) == 1
    assert lines[0].startswith(f"override {override!r}: ")
    assert line in lines[0]


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["cluster.workers=0"], "cluster.workers = 0: must be 1 or more, or auto"),
        (["cluster.workers=4", "train.batch_size=2"], "train.batch_size = 2: cluster.workers = 4"),
        (["data.split.val=0"], "data.split.val = 0: train.monitor = 'accuracy' is measured on"),
        (["train.epochs=2", "train.schedule.warmup_epochs=2"], "must end before train.epochs = 2"),
        (["data.source.path=builtin:digit"], "did you mean builtin:digits?"),
        (["data.source.path=builtin:digits", "data.source.format=parquet"], "as class folders"),
        (["data.source.format=folders", "data.source.split_column=s"], "folders have no columns"),
        (["model.depth=6", "input.image_px=32"], "model: 6 stages leave 1 pixels of a picture"),
        (["data.split.val=0.6", "data.split.test=0.5"], "leaves no record to train on"),
        (["train.mixing={erasing_ratio: [4, 5]}"], "erasing_area up to 0.4 does not fit into a pi"),
    ],
)
def test_what_cannot_be_together_is_refused_and_blames_what_was_written(
    small: str, overrides: list[str], line: str
) -> None:
    lines = refusal(small, *overrides)
    assert len(lines) == 1
    assert line in lines[0]
    assert any(lines[0].startswith(f"override {override!r}: ") for override in overrides)


@pytest.mark.parametrize(
    "overrides",
    [
        ["cluster.workers=3", "train.batch_size=4"],
        ["data.split.val=0", "data.source.split_column=split"],
        ["train.epochs=2", "train.schedule.warmup_epochs=1.9"],
        ["model.depth=6", "input.image_px=64"],
    ],
)
def test_what_is_just_possible_is_accepted(small: str, overrides: list[str]) -> None:
    load_recipe(small, overrides)


def test_the_stages_that_a_recipe_allows_are_those_that_the_model_allows(small: str) -> None:
    for image_px in (1, 2, 8, 31, 32, 63, 65, 100, 127, 129, 224):
        for depth in range(1, 7):
            settings = [f"input.image_px={image_px}", f"model.depth={depth}"]
            try:
                check_stages(image_px, depth)
            except RecipeError:
                assert "stages leave" in refusal(small, *settings)[0]
            else:
                load_recipe(small, settings)


def test_missing_settings_are_named_down_to_the_value(tmp_path: Path) -> None:
    assert refusal(write(tmp_path, "# nothing\n")) == [
        "recipe small.yaml: name is missing and has no default; give it a value",
        "recipe small.yaml: data.source.path is missing and has no default; give it a value",
    ]
    assert refusal(write(tmp_path, "name: x\ndata:\n  source:\n")) == [
        "recipe small.yaml, line 3: data.source.path is missing and has no default; give it a value"
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("- a\n", "recipe small.yaml: the file must hold settings"),
        ("name: [\n", "recipe small.yaml, line 2: not valid YAML"),
        ("name: x\n\tseed: 1\n", "recipe small.yaml, line 2: not valid YAML"),
        ("name: x\n---\nname: y\n", "recipe small.yaml, line 2: not valid YAML"),
        ("name: &n x\noutput: *n\n", "recipe small.yaml, line 2: *n is an alias"),
        ("name: x\nseed: 1\x00\n", "recipe small.yaml, line 2: not valid YAML: special characters"),
        ("a: " + "[" * 5000, "recipe small.yaml, line 1: settings more than 32 deep are no recipe"),
    ],
)
def test_what_is_no_yaml_has_one_line_with_its_place(tmp_path: Path, text: str, line: str) -> None:
    lines = refusal(write(tmp_path, text))
    assert len(lines) == 1
    assert lines[0].startswith(line)


def test_tags_cannot_make_objects(tmp_path: Path) -> None:
    lines = refusal(write(tmp_path, SMALL + "seed: !!python/object/apply:os.getpid []\n"))
    assert lines == ["recipe small.yaml, line 4: seed = []: must be a whole number"]


def test_a_file_that_is_not_there_names_the_shipped_recipes_nearest_first(tmp_path: Path) -> None:
    assert refusal("imags") == [
        "recipe imags: no such file; the shipped recipes are images, adult, digits, housing, "
        "penguins, table, weather"
    ]
    assert "no such file" in refusal(str(tmp_path / "digits"))[0]
    assert refusal(str(tmp_path))[0].endswith("cannot be read: Is a directory")
    (tmp_path / "latin.yaml").write_bytes("name: é".encode("latin-1"))
    assert "not UTF-8 text" in refusal(str(tmp_path / "latin.yaml"))[0]


def test_overrides_are_read_as_the_file_is(small: str) -> None:
    recipe = load_recipe(
        small,
        [
            "train.optimizer.learning_rate=1e-3",
            "train.max_grad_norm=1",
            "train.max_grad_norm=null",
            "train.schedule={kind: linear, warmup_epochs: 2}",
            "data.source.path=my images #1: the second",
            "data.source.label_column=no",
            "data.source.path_column='null'",
            "data.source.split_column=2024-01-31",
            "model.name=resnet",
            "model.blocks=[1, 1, 1]",
            "model.blocks.1=2",
            "data.clean.max_pixels=1_000_000",
        ],
    )
    assert recipe.train.optimizer.learning_rate == 0.001
    assert recipe.train.optimizer.name == "sgd"
    assert recipe.train.max_grad_norm is None
    assert (recipe.train.schedule.kind, recipe.train.schedule.warmup_epochs) == ("linear", 2.0)
    assert recipe.data.source.path == "my images #1: the second"
    assert recipe.data.source.label_column == "no"
    assert recipe.data.source.path_column == "null"
    assert recipe.data.source.split_column == "2024-01-31"
    assert recipe.model.name == "resnet"
    assert recipe.model.blocks == (1, 2, 1)
    assert recipe.data.clean.max_pixels == 1_000_000


def test_a_list_index_that_is_not_there_is_refused(small: str) -> None:
    lines = refusal(small, "model={name: resnet, blocks: [1, 1]}", "model.blocks.2=1")
    assert lines == [
        "override 'model.blocks.2=1': model.blocks is a list of 2 items; '2' is none of 0 to 1"
    ]


def test_another_variant_drops_only_what_the_file_said_of_the_old_one(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        SMALL + "train:\n  optimizer: {name: sgd, learning_rate: 0.2, momentum: 0.8}\n",
    )
    optimizer = load_recipe(file, ["train.optimizer.name=adamw"]).train.optimizer
    assert (optimizer.name, optimizer.learning_rate) == ("adamw", 0.2)
    # What the override itself says is never dropped, and a wrong name in the file neither.
    lines = refusal(file, "train.optimizer.name=adamw", "train.optimizer.momentum=0.9")
    assert lines == [
        "override 'train.optimizer.momentum=0.9': train.optimizer.momentum is not a setting of "
        "train.optimizer 'adamw', which takes name, learning_rate, betas, eps, weight_decay"
    ]
    file = write(tmp_path, SMALL + "train:\n  optimizer: {name: sgd, momentun: 0.8}\n")
    assert "momentun is not a setting" in refusal(file, "train.optimizer.name=adamw")[0]


def test_sections_written_empty_and_choices_without_a_name_are_the_defaults(tmp_path: Path) -> None:
    plain = load_recipe(write(tmp_path, SMALL))
    empty = SMALL + "train:\n  optimizer:\n  schedule:\nmodel:\naugment:\n"
    assert load_recipe(write(tmp_path, empty)) == plain
    nameless = load_recipe(write(tmp_path, empty), ["model.width=16"])
    assert (nameless.model.name, nameless.model.width) == ("convnet", 16)


STEPS = SMALL + (
    "compression:\n"  # line 4
    "  - kind: prune\n"
    "    what: channels\n"
    "    max_flops: 0.4\n"
    "  - {kind: quantize, what: int8_static, percentile: 99.9}\n"
)


def test_steps_of_compression_are_read_changed_and_written(tmp_path: Path) -> None:
    file = write(tmp_path, STEPS)
    prune, quantize = load_recipe(file, ["compression.0.max_flops=0.3"]).compression
    assert prune.model_dump() == {
        "kind": "prune",
        "what": "channels",
        "max_flops": 0.3,
        "round_to": 8,
        "importance": "l2",
    }
    assert (quantize.kind, quantize.model_dump()["percentile"]) == ("quantize", 99.9)
    # Another variant drops what the file said of the old one alone.
    other = load_recipe(file, ["compression.1.what=int8_weights", "compression.0.what=heads"])
    assert "percentile" not in other.compression[1].model_dump()
    assert other.compression[0].model_dump()["max_flops"] == 0.4
    whole = load_recipe(file, ["compression=[{kind: prune, what: 2:4}, {kind: fold}]"])
    assert [step.kind for step in whole.compression] == ["prune", "fold"]
    assert load_recipe(write(tmp_path, resolved_yaml(whole))) == whole
    assert load_recipe(write(tmp_path, SMALL + "compression:\n")).compression == ()


@pytest.mark.parametrize(
    ("overrides", "lines"),
    [
        (
            ["compression.0.max_flop=1"],
            [
                "override 'compression.0.max_flop=1': compression.0.max_flop is not a setting of "
                "compression.0 'prune'; did you mean compression.0.max_flops?"
            ],
        ),
        (
            ["compression.1.what=int8"],
            [
                "override 'compression.1.what=int8': compression.1.what = 'int8': must be "
                "'int8_static', 'int8_dynamic', 'int8_weights' or 'int4_weights'; did you mean "
                "int8_static?"
            ],
        ),
        (
            ["compression.0.kind=factorize"],
            ["compression.0: give exactly one of energy and rank, not energy None and rank None"],
        ),
        (
            ["compression.0={kind: quantize, what: int8_dynamic}"],
            [
                "compression.1: quantize int8_static cannot follow quantize int8_dynamic; keep "
                "only one of the two"
            ],
        ),
        (["compression=[fold]"], ["compression.0 = 'fold': must be a section with settings of"]),
        (["compression=[{kind: prune}]"], ["does not say which it is; give compression.0.what"]),
        (["compression=fold"], ["compression = 'fold': must be a list"]),
        (["max_flops=0.5"], ["max_flops is not a setting of a recipe; did you mean compression."]),
    ],
)
def test_a_wrong_step_is_refused_with_its_place_in_the_list(
    tmp_path: Path, overrides: list[str], lines: list[str]
) -> None:
    refused = refusal(write(tmp_path, STEPS), *overrides)
    assert len(refused) == len(lines)
    assert all(words in line for line, words in zip(refused, lines, strict=True))


def test_steps_in_another_order_are_refused_at_the_line_of_the_second(tmp_path: Path) -> None:
    text = SMALL + "compression:\n  - {kind: fold}\n  - {kind: factorize, rank: 2}\n"
    assert refusal(write(tmp_path, text)) == [
        "recipe small.yaml, line 6: compression.1: factorize comes before fold; move it before "
        "compression.0"
    ]


def test_the_fingerprint_is_of_what_is_computed(small: str) -> None:
    plain = recipe_fingerprint(load_recipe(small))
    assert len(plain) == 64
    elsewhere = [
        "output=other", "resume=true", "tracking.experiment=x", "cluster.workers=2",
    ]  # fmt: skip
    assert recipe_fingerprint(load_recipe(small, elsewhere)) == plain
    others = [
        "seed=1", "name=x", "train.epochs=11", "train.optimizer.learning_rate=0.2",
        "data.source.path=y", "augment.policy=none", "input.image_px=64",
    ]  # fmt: skip
    assert len({recipe_fingerprint(load_recipe(small, [other])) for other in others} | {plain}) == 8
    written_out = ["train.epochs=10", "train.optimizer.name=sgd"]
    assert recipe_fingerprint(load_recipe(small, written_out)) == plain


def test_the_schema_describes_every_setting() -> None:
    schema = json.loads(json.dumps(recipe_schema()))
    undocumented = [
        f"{title}.{name}"
        for title, part in schema["$defs"].items()
        for name, setting in part.get("properties", {}).items()
        if not setting.get("description")
    ]
    assert undocumented == []
    kinds = [part["$ref"].rpartition("/")[2] for part in schema["oneOf"]]
    assert kinds == ["ImageRecipe", "TableClassificationRecipe", "TableRegressionRecipe"]
    parts = [schema["$defs"][kind] for kind in kinds]
    assert all(part["additionalProperties"] is False for part in parts)
    # Who names no task means pictures, and nothing else can be meant.
    assert ["task" in part["required"] for part in parts] == [False, True, True]
    assert parts[0]["properties"]["seed"]["minimum"] == 0
    assert "anyOf" in schema["$defs"]["TransformConfig"]


# Tables

TABLE = "name: t\ntask: tabular_classification\ndata:\n  source: {path: t.csv}\n  target: y\n"


def test_the_task_decides_the_kind_of_recipe(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, TABLE))
    assert isinstance(recipe, TableClassificationRecipe)
    assert (recipe.model.name, recipe.train.monitor) == ("mlp", "accuracy")
    regression = load_recipe(write(tmp_path, TABLE), ["task=tabular_regression"])
    assert isinstance(regression, TableRegressionRecipe)
    assert (regression.train.monitor, regression.train.loss) == ("rmse", "mse")
    assert recipe_fingerprint(recipe) != recipe_fingerprint(regression)
    for kept in (recipe, regression):
        assert load_recipe(write(tmp_path, resolved_yaml(kept))) == kept
    assert isinstance(load_recipe(write(tmp_path, SMALL + "task:\n")), ImageRecipe)


def test_another_task_drops_what_the_file_said_for_the_old_one(tmp_path: Path) -> None:
    file = write(tmp_path, TABLE + "train: {epochs: 3, label_smoothing: 0.1}\n")
    regression = load_recipe(file, ["task=tabular_regression"])
    assert regression.train.epochs == 3
    lines = refusal(file, "task=tabular_regression", "train.label_smoothing=0.2")
    assert lines == [
        "override 'train.label_smoothing=0.2': train.label_smoothing is not a setting of train, "
        "which takes epochs, batch_size, last_batch, shuffle_window_rows, sampling, optimizer, "
        "schedule, max_grad_norm, mixing, checkpoint_every_steps, monitor, max_failures, loss, "
        "huber_delta"
    ]


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["task=tabular"], "task = 'tabular': must be one of image_classification, tabular_"),
        (["task=tabular_regresion"], "did you mean tabular_regression?"),
        (["task=7"], "task = 7: must be one of"),
        (["train.sampling.weight_colum=w"], "did you mean train.sampling.weight_column?"),
        (["train.monitor=rmse"], "train.monitor = 'rmse': must be 'loss', 'accuracy' or 'f1_mac"),
        (["model.name=convnet"], "model.name = 'convnet': must be 'linear' or 'mlp'"),
        (["model.hiden=[3]"], "model.hiden is not a setting of model 'mlp'; did you mean model.hi"),
        (["data.columns.age.kind=numbr"], "data.columns.age.kind = 'numbr': must be 'integer', "),
        (["data.columns.age.kid=number"], "not a setting of data.columns.age; did you mean data."),
        (["data.columns.age.outliers.metod=iqr"], "did you mean data.columns.age.outliers.method?"),
        (["augment.policy=none"], "augment is not a setting of a recipe"),
        (["data.clean.policy.missing_valu=keep"], "missing_valu"),
        (["data.split.val=0"], "data.split.val = 0: train.monitor = 'accuracy' is measured on"),
        (["train.mixing.cutmix_alpha=1"], "train.mixing.cutmix_alpha = 1: it is for pictures, an"),
        (["train.mixing.erasing_probability=0.5"], "tabular_classification learns from rows of a"),
        (["train.mixing.mixup_alfa=1"], "did you mean train.mixing.mixup_alpha?"),
        (["data.columns.y.kind=text"], "data.columns.y.kind = 'text': tabular_classification pred"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_table_recipe_has_one_line(
    tmp_path: Path, overrides: list[str], line: str
) -> None:
    lines = refusal(write(tmp_path, TABLE), *overrides)
    assert len(lines) == 1
    assert line in lines[0]


def test_columns_are_settings_by_free_names(tmp_path: Path) -> None:
    columns = "  columns:\n    a b: {kind: number}\n    odd.name: {missing: [x], kin: 1}\n"
    assert refusal(write(tmp_path, TABLE + columns)) == [
        "recipe small.yaml, line 8: data.columns.odd.name.kin is not a setting of "
        "data.columns.odd.name; did you mean data.columns.odd.name.kind?"
    ]
    recipe = load_recipe(write(tmp_path, TABLE + columns.replace(", kin: 1", "")))
    assert isinstance(recipe, TableClassificationRecipe)
    assert recipe.data.columns["a b"].kind == "number"
    assert recipe.data.columns["odd.name"].missing == ("x",)


def test_prepare_needs_no_target_and_train_says_what_to_set(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, TABLE), ["data.target=null"])
    with pytest.raises(RecipeError, match=r"recipe t: data.target is not set; name the column"):
        require_target(recipe)
    require_target(load_recipe(write(tmp_path, TABLE)))
    require_target(load_recipe(write(tmp_path, SMALL)))


@pytest.mark.processes
def test_loading_imports_no_heavy_library() -> None:
    code = (
        "import sys; from pipelines.recipe import load_recipe; load_recipe('digits'); "
        "heavy = {'torch', 'ray', 'albumentations', 'mlflow', 'sklearn', 'scipy'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.strip() == "[]"


texts = st.text(max_size=12) | st.sampled_from(
    ["no", "on", "null", "~", "1e-3", "010", "1_0", ".5", "0x1F", "1:30", "2024-01-31", "- a", "'"]
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | texts.filter(lambda text: not set(text) & {"\x85", "\ufeff"} and text.isprintable())
)
keys = st.text("abcxyz_", min_size=1, max_size=6)


@given(st.dictionaries(keys, st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
), max_size=4))  # fmt: skip
def test_what_is_written_reads_back_equal(values: dict[str, object]) -> None:
    text = dump_document(values)
    assert parse_document(text, "x").values == values
    assert yaml.safe_load(text) == values


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3), ("1E3", 1000.0), ("5.", 5.0), (".5", 0.5), ("-.inf", -math.inf),
        ("12", 12), ("-0", 0), ("1_000", 1000), ("true", True), ("False", False), ("~", None),
        ("no", "no"), ("on", "on"), ("yes", "yes"), ("010", "010"), ("1:30", "1:30"),
        ("2024-01-31", "2024-01-31"), ("1_", "1_"), ("e3", "e3"), (".", "."), ("0x1F", "0x1F"),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    read = parse_document(f"value: {text}", "x").values["value"]
    assert (read, type(read)) == (value, type(value))

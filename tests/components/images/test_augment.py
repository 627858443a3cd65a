"""Recipes of transforms are checked at load; augmentation is a function of its seed alone."""

import hashlib
import json
import pickle
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
import pytest

from components.errors import RecipeError
from components.images import augment, transforms
from components.images.augment import (
    AugmentConfig,
    Augmenter,
    augment_seed,
    build_augmenter,
    policy_names,
    policy_transforms,
)
from components.images.geometry import to_input
from components.records.identity import record_id
from tests.components.images.dirty import noise

LIBRARY = augment._library()
ROOT = Path(__file__).parents[3]
# Albumentations says itself that these take long; TimeMasking masks up to 40 px, more than 32.
SLOW = {"PiecewiseAffine", "Superpixels"}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "Crop": {"x_max": 20, "y_max": 20},
    "CropAndPad": {"percent": 0.1},
    "GridElasticDeform": {"num_grid_xy": [4, 4], "magnitude": 5},
    "RandomSizedCrop": {"min_max_height": [10, 30]},
    "TimeMasking": {"time_mask_param": 10},
    **{group: {"transforms": ["Blur", "Rotate"]} for group in transforms._GROUPS},
}
ALL = sorted(set(transforms._transform_classes(LIBRARY)) - SLOW)


def config_of(*items: object) -> AugmentConfig:
    return AugmentConfig.model_validate({"transforms": list(items)})


def build(config: AugmentConfig, image_px: int = 32) -> Augmenter:
    return build_augmenter(config, image_px=image_px, geometry="crop")


@pytest.mark.parametrize("name", ALL)
def test_every_transform_is_a_function_of_image_and_seed(name: str) -> None:
    """Two builds, other order, other global random state: the same bits; uint8 of the size."""
    config = config_of({name: {**ARGUMENTS.get(name, {}), "p": 1.0}})
    image_HWC = noise(40, 48)
    image_HWC.setflags(write=False)
    one, other = build(config), build(config)
    seeds = (7, 8, 2**63 - 1)
    first = [one(image_HWC, seed) for seed in seeds]
    np.random.seed(1)
    random.seed(1)
    for seed, expected in reversed(list(zip(seeds, first, strict=True))):
        np.testing.assert_array_equal(other(image_HWC, seed), expected)
        assert (expected.dtype, expected.shape) == (np.uint8, (32, 32, 3))
        assert expected.flags.c_contiguous


def test_all_usable_transforms_of_the_library_are_known() -> None:
    assert len(ALL) + len(SLOW) == 96


def test_transforms_draw_independent_numbers() -> None:
    """Compose.set_random_seed would give (0, 0) and (1, 1) only: the flips come together."""
    image_HWC = np.zeros((4, 4, 3), np.uint8)
    image_HWC[0, 0] = 1
    flips = build(config_of("HorizontalFlip", "VerticalFlip"), image_px=4)
    corners: Counter[tuple[int, ...]] = Counter()
    for seed in range(400):
        rows, columns, _ = np.nonzero(flips(image_HWC, seed))
        corners[int(rows[0]), int(columns[0])] += 1
    assert len(corners) == 4
    assert min(corners.values()) > 60


@pytest.mark.parametrize("policy", policy_names())
@pytest.mark.parametrize("size_px", [(8, 8), (40, 48), (300, 20)])
def test_policies_give_the_input_size_from_any_image(policy: str, size_px: tuple[int, int]) -> None:
    augmenter = build(AugmentConfig(policy=policy))
    image_HWC = noise(*size_px)
    results = [augmenter(image_HWC, seed) for seed in range(8)]
    assert {result.shape for result in results} == {(32, 32, 3)}
    distinct = len({result.tobytes() for result in results})
    assert distinct == 1 if policy == "none" else distinct > 1


def test_policy_none_is_the_view_of_evaluation() -> None:
    image_HWC = noise(50, 41)
    for geometry in ("crop", "stretch"):
        augmenter = build_augmenter(AugmentConfig(policy="none"), image_px=32, geometry=geometry)
        expected = to_input(image_HWC, image_px=32, geometry=geometry)
        np.testing.assert_array_equal(augmenter(image_HWC, 5), expected)


def test_policies_are_what_a_recipe_could_write() -> None:
    for name in policy_names()[1:]:
        items = [spec.model_dump(mode="json") for spec in policy_transforms(name)]
        assert config_of(*items).resolved() == AugmentConfig(policy=name).resolved()
    with pytest.raises(RecipeError, match="did you mean 'standard'"):
        policy_transforms("standart")


def test_seed_depends_on_seed_epoch_and_record_and_on_nothing_else() -> None:
    one, two = record_id(b"one"), record_id(b"two")
    seeds = [augment_seed(s, e, r) for s in (0, 1) for e in (0, 1) for r in (one, two)]
    assert len(set(seeds)) == 8
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert augment_seed(0, 0, one) == seeds[0]


@pytest.mark.processes
def test_another_process_gives_the_same_picture() -> None:
    """Bitwise, from the JSON of the config alone."""
    config = AugmentConfig(policy="strong")
    seed = augment_seed(3, 2, record_id(b"x"))
    script = (
        # Albumentations imports torch if there is any; without, this takes a third of the time.
        "import sys, hashlib; sys.modules['torch'] = None; "
        "from components.images.augment import *; "
        "from tests.components.images.dirty import noise; "
        "a = build_augmenter(AugmentConfig.model_validate_json(sys.argv[1]), "
        "image_px=32, geometry='crop'); "
        f"print(hashlib.sha256(a(noise(), {seed}).tobytes()).hexdigest())"
    )
    command = [sys.executable, "-c", script, config.model_dump_json(exclude_none=True)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, cwd=ROOT)
    here = hashlib.sha256(build(config)(noise(), seed).tobytes()).hexdigest()
    assert done.stdout.split() == [here]


def test_pickled_augmenter_and_config_give_the_same_picture() -> None:
    config = AugmentConfig(policy="standard")
    augmenter = build(config)
    expected = augmenter(noise(), 11)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(augmenter))(noise(), 11), expected)
    np.testing.assert_array_equal(build(pickle.loads(pickle.dumps(config)))(noise(), 11), expected)


def test_image_is_brought_to_size_first_unless_a_transform_sizes_it() -> None:
    """A flip sees 32 px; a random crop sees the whole picture."""
    image_HWC = noise(64, 48)
    flipped = build(config_of({"HorizontalFlip": {"p": 1}}))(image_HWC, 0)
    expected = to_input(image_HWC, image_px=32, geometry="crop")[:, ::-1]
    np.testing.assert_array_equal(flipped, expected)
    crop = build(config_of("RandomCrop"))(image_HWC, 0)
    windows = np.lib.stride_tricks.sliding_window_view(image_HWC, (32, 32), axis=(0, 1))
    assert (windows == crop.transpose(2, 0, 1)).all(axis=(2, 3, 4)).any()


def test_random_resized_crop_averages_areas_as_evaluation_does() -> None:
    checks = np.repeat((np.indices((128, 128)).sum(0) % 2 * 255).astype(np.uint8)[..., None], 3, 2)
    crop = build(config_of({"RandomResizedCrop": {"scale": [1.0, 1.0], "ratio": [1.0, 1.0]}}))
    assert set(np.unique(crop(checks, 0))) <= {127, 128}


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (["HorizontlFlip"], "unknown transform 'HorizontlFlip', did you mean 'HorizontalFlip'"),
        (["horizontalflip"], "did you mean 'HorizontalFlip'"),
        ([{"Rotate": {"limmit": 10}}], "'limmit' of Rotate, did you mean 'limit'.*accepted: limit"),
        ([{"CoarseDropout": {"max_holes": 3}}], "unknown argument 'max_holes'.*num_holes_range"),
        ([{"Rotate": {"limit": "ten"}}], "Rotate: limit = 'ten': Input should be"),
        ([{"RandomResizedCrop": {"scale": [0.5, 2]}}], r"scale = \[0.5, 2\].*<= 1"),
        ([{"HorizontalFlip": {"p": 7}}], "p of HorizontalFlip is 7"),
        ([{"RandomRotate90": {"p": 7}}], "p of RandomRotate90 is 7"),
        ([{"HorizontalFlip": {"p": "often"}}], "p of HorizontalFlip is 'often'"),
        (["Normalize"], "uint8, mean and std are applied on the device"),
        (["ToTensorV2"], "uint8, mean and std are applied on the device"),
        (["Lambda"], "holds no code"),
        (["MaskDropout"], "boxes or masks"),
        (["Mosaic"], "other pictures"),
        (["Compose"], "unknown transform"),
        (["DualTransform"], "unknown transform"),
        ([{"HorizontalFlip": None, "Rotate": {}}], "put a dash before each transform"),
        ([{"Rotate": 10}], "arguments of Rotate are 10, expected a mapping"),
        ([{"OneOf": {}}], "OneOf needs a list `transforms`"),
        ([{"OneOf": {"transforms": ["Blurr"]}}], "did you mean 'Blur'"),
        ([{"OneOf": {"transforms": ["Blur"], "p": 3}}], "p of OneOf is 3"),
        ([], "at least 1 item"),
    ],
)
def test_mistakes_are_refused_at_load(items: list[object], message: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=message):
        config_of(*items)


def test_mistake_says_which_transform_of_the_list() -> None:
    with pytest.raises(pydantic.ValidationError) as caught:
        config_of("HorizontalFlip", "Blurr")
    assert caught.value.errors()[0]["loc"] == ("transforms", 1)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "exactly one of policy and transforms, got neither"),
        ({"policy": "none", "transforms": ["Blur"]}, "got both"),
        ({"policy": "standart"}, "did you mean 'standard'.*known: none, light"),
    ],
)
def test_exactly_one_of_policy_and_transforms(value: dict[str, object], message: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=message):
        AugmentConfig.model_validate(value)


@pytest.mark.parametrize(
    "item",
    [{"Crop": {"x_max": 300, "y_max": 300}}, {"RandomCrop": {"pad_if_needed": False}}],
)
def test_transforms_that_fail_on_some_image_are_refused_when_built(item: object) -> None:
    with pytest.raises(RecipeError, match=r"fail on an image of 8 x 8 px.*put SmallestMaxSize"):
        build(config_of(item))


def test_recipe_form_survives_a_round_trip() -> None:
    items = ["HorizontalFlip", {"OneOf": {"transforms": ["Blur", {"Rotate": {"limit": 5}}]}}]
    config = config_of(*items)
    dumped = json.loads(config.model_dump_json())
    assert dumped == {"policy": None, "engine": "auto", "transforms": items}
    assert AugmentConfig.model_validate(dumped) == config


def test_schema_describes_the_form_that_recipes_write() -> None:
    schema = AugmentConfig.model_json_schema()
    forms = [form["type"] for form in schema["$defs"]["TransformConfig"]["anyOf"]]
    assert forms == ["string", "object"]


@pytest.mark.processes
def test_named_policy_is_loaded_without_importing_albumentations() -> None:
    script = (
        "import sys; from components.images.augment import AugmentConfig; "
        "AugmentConfig(policy='standard'); print('albumentations' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=ROOT,
    )
    assert done.stdout.split() == ["False"]

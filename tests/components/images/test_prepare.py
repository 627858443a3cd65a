"""From bytes to columns and notes; the policy decides between a note and a refusal."""

import functools
import pickle

import cv2
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from components.images.decode import decode_stored
from components.images.inspect import CleanConfig
from components.images.prepare import IMAGE_COLUMNS, PreparedRecord, build_prepare, pixel_hash
from components.images.store import StoreConfig
from components.records.reasons import Policy, Reason, RecordRejected
from tests.components.images.dirty import (
    EXIF_ORIENTATION,
    encode,
    noise,
    odd_images,
    quarters,
)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


def prepare(data: bytes, origin: str = "", **clean: object) -> PreparedRecord:
    config = CleanConfig.model_validate(clean)
    return build_prepare(config, StoreConfig())(data, origin)


def reasons(record: PreparedRecord) -> list[Reason]:
    return [reason for reason, _ in record.notes]


def test_columns_are_those_of_the_schema_and_the_function_can_be_sent() -> None:
    function = pickle.loads(pickle.dumps(build_prepare(CleanConfig(), StoreConfig())))
    record = function(encode(noise(), "PNG"), "a/b.png")
    assert set(record.columns) == set(IMAGE_COLUMNS.names)
    assert record.notes == ()
    assert len(record.columns["similarity_hash"]) == 48 * 48
    assert record.record_id == pixel_hash(noise())


def test_pixel_hash_names_pixels_and_shape_whatever_the_file() -> None:
    hashes = {prepare(encode(noise(), format)).record_id for format in ("PNG", "BMP")}
    assert len(hashes) == 1
    assert len(hashes.pop()) == 32
    flat_HWC = np.zeros((4, 9, 3), np.uint8)
    assert pixel_hash(flat_HWC) != pixel_hash(flat_HWC.reshape(9, 4, 3))
    assert pixel_hash(noise()[:, ::-1]) == pixel_hash(noise()[:, ::-1].copy())


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    return exif


@functools.cache
def _forms() -> dict[str, tuple[bytes, list[Reason]]]:
    picture = Image.fromarray(load_sample_image("china.jpg")[100:220, 200:360])
    other = Image.fromarray(noise(seed=2))
    clear = picture.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    deep = np.asarray(picture.convert("L")).astype(np.uint16) * 257
    several = {"save_all": True, "append_images": [other]}
    frames = [Reason.SEVERAL_FRAMES]
    return {
        "gray.jpg": (encode(picture.convert("L"), "JPEG"), []),
        "progressive.jpg": (encode(picture, "JPEG", progressive=True), []),
        "tail.jpg": (encode(picture, "JPEG") + b"junk" * 50, []),
        "turned.jpg": (encode(picture, "JPEG", exif=_exif(6)), [Reason.EXIF_ORIENTATION]),
        "turned.tif": (
            encode(picture, "TIFF", tiffinfo={EXIF_ORIENTATION: 3}),
            [Reason.EXIF_ORIENTATION],
        ),
        "cmyk.jpg": (encode(picture.convert("CMYK"), "JPEG"), [Reason.COLOUR_FORM]),
        "palette.png": (encode(picture.quantize(64), "PNG"), [Reason.COLOUR_FORM]),
        "one_bit.png": (encode(picture.convert("1"), "PNG"), [Reason.COLOUR_FORM]),
        "clear.png": (encode(clear, "PNG"), [Reason.TRANSPARENCY]),
        "opaque.png": (encode(picture.convert("RGBA"), "PNG"), [Reason.COLOUR_FORM]),
        "deep.png": (encode(deep, "PNG"), [Reason.DEEP_COLOUR]),
        "deep.tif": (encode(deep, "TIFF"), [Reason.DEEP_COLOUR]),
        "frames.gif": (encode(picture, "GIF", **several), [Reason.COLOUR_FORM, *frames]),
        "frames.png": (encode(picture, "PNG", **several), frames),
        "frames.webp": (encode(picture, "WEBP", **several), frames),
        "pages.tif": (encode(picture, "TIFF", **several), frames),
        "preview.mpo": (encode(picture, "MPO", **several), []),
    }


@pytest.mark.parametrize("name", _forms())
def test_what_was_brought_to_canonical_form_is_noted(name: str) -> None:
    data, expected = _forms()[name]
    record = prepare(data, name)
    assert reasons(record) == expected
    assert all(detail for _, detail in record.notes)


def test_every_decodable_odd_picture_is_prepared() -> None:
    """None of them is set aside for how it looks, where size and blankness are not asked for."""
    for odd in odd_images():
        if odd.expect is None:
            record = prepare(odd.data, min_size_px=1, policy={"blank": "keep"})
            stored_HWC = decode_stored(record.columns["image"])
            assert stored_HWC.shape[:2] == odd.size_px[::-1], odd.name


def test_policy_turns_a_note_into_a_refusal_and_back() -> None:
    dark = encode((load_sample_image("china.jpg") * 0.15).astype(np.uint8), "PNG")
    blank = encode(quarters(((9, 9, 9),) * 4), "PNG")
    turned = encode(noise(), "JPEG", exif=_exif(8))
    assert reasons(prepare(dark)) == [Reason.VERY_DARK]
    assert reasons(prepare(blank, policy={"blank": "keep"})) == [Reason.BLANK]
    for data, policy, reason in (
        (dark, {"very_dark": "quarantine"}, Reason.VERY_DARK),
        (dark, {"very_dark": "stop"}, Reason.VERY_DARK),
        (blank, {}, Reason.BLANK),
        (turned, {"exif_orientation": Policy.QUARANTINE}, Reason.EXIF_ORIENTATION),
    ):
        with pytest.raises(RecordRejected) as caught:
            prepare(data, policy=policy)
        assert caught.value.reason is reason


def test_extension_is_noted_only_where_there_is_a_name() -> None:
    data = encode(noise(), "PNG")
    assert reasons(prepare(data, "cat/a.JPG")) == [Reason.WRONG_EXTENSION]
    assert reasons(prepare(data, "cat/a")) == [Reason.MISSING_EXTENSION]
    assert reasons(prepare(data, "cat/a.PNG")) == reasons(prepare(data)) == []


def test_near_duplicates_can_be_left_out() -> None:
    data = encode(noise(), "PNG")
    assert prepare(data, near_duplicates=False).columns["similarity_hash"] is None
    tiny = encode(cv2.resize(noise(), (28, 28)), "PNG")
    assert prepare(tiny).columns["similarity_hash"] is None

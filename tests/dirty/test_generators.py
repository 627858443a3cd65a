"""The dirty data are what their truth says they are."""

import csv
import io
import os
import struct
import zlib
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.dirty.conftest import SEED
from tests.dirty.image_plants import unusable
from tests.dirty.images import CLASSES, VARIANTS
from tests.dirty.pictures import quarter_means
from tests.dirty.studio import Studio
from tests.dirty.table_judge import comparable
from tests.dirty.tables import KINDS, canonical_text, make_dirty_table
from tests.dirty.truth import Defect, ImageTruth, Outcome, TableTruth
from tests.dirty.variants import csv_variants

FOLDER_OUTCOMES = (Outcome.MERGED, Outcome.FOLDER)

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module", params=KINDS)
def table(request: pytest.FixtureRequest) -> TableTruth:
    return make_dirty_table(request.param, SEED)


def of_kind(truth: ImageTruth, kind: str) -> list[Defect]:
    found = [defect for defect in truth.defects if defect.kind == kind]
    assert found, f"nothing of the kind {kind} was planted"
    return found


def contents(folder: Path, defect: Defect) -> list[bytes]:
    return [(folder / origin).read_bytes() for origin in defect.origins]


def test_every_file_is_in_the_truth_and_every_defect_has_its_files(
    dirty_folder: Path, truth: ImageTruth
) -> None:
    there = {
        os.path.relpath(os.path.join(place, name), dirty_folder)
        for place, _, names in os.walk(dirty_folder)
        for name in names
    }
    planted = [o for d in truth.defects if d.outcome not in FOLDER_OUTCOMES for o in d.origins]
    assert there == truth.files
    assert set(planted) <= there and len(set(planted)) == len(planted)
    assert len(truth.clean) == 110 and not truth.clean & set(planted)
    # The junk file that is all of the class "ruins" stands for that defect.
    assert there - truth.clean - set(planted) == {"train/ruins/Thumbs.db"}


def test_there_are_as_many_defects_as_wanted_and_of_all_kinds(truth: ImageTruth) -> None:
    assert len(truth.defects) >= 170
    assert len(truth.num_by_kind) >= 40
    assert sum(1 for kind in truth.num_by_kind if "leak" in kind) == 2
    assert set(truth.classes.values()) >= {*CLASSES, "lighthouse", "windmill", "ruins"}
    assert not set(truth.classes.values()) & VARIANTS.keys()


def test_the_same_seed_gives_the_same_bytes(dirty_folder: Path, truth: ImageTruth) -> None:
    plants = unusable(Studio(np.random.default_rng([SEED, 0xD127])))
    for plant, defect in zip(plants, truth.defects, strict=False):
        if plant.files[0].data is not None:
            assert contents(dirty_folder, defect) == [file.data for file in plant.files]


def test_what_is_truncated_lacks_its_end(dirty_folder: Path, truth: ImageTruth) -> None:
    for kind in ("truncated JPEG", "truncated progressive"):
        for defect in of_kind(truth, kind):
            assert not contents(dirty_folder, defect)[0].endswith(b"\xff\xd9")
    for defect in of_kind(truth, "truncated PNG"):
        assert not _is_whole_png(contents(dirty_folder, defect)[0])
    for defect in of_kind(truth, "truncated WebP"):
        data = contents(dirty_folder, defect)[0]
        assert struct.unpack("<I", data[4:8])[0] + 8 > len(data)
    for kind in ("truncated TIFF", "truncated BMP"):
        for defect in of_kind(truth, kind):
            with pytest.raises((OSError, SyntaxError)):
                Image.open(io.BytesIO(contents(dirty_folder, defect)[0])).load()


def test_a_grey_rest_is_a_full_picture_to_opencv(dirty_folder: Path, truth: ImageTruth) -> None:
    for defect in of_kind(truth, "grey rest"):
        data = contents(dirty_folder, defect)[0]
        assert data.endswith(b"\xff\xd9")
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None and picture.shape[0] >= 180
        assert np.ptp(picture[-8:, -8:].reshape(-1, 3), axis=0).max() <= 6


def test_bombs_are_small_and_claim_much(dirty_folder: Path, truth: ImageTruth) -> None:
    for defect in of_kind(truth, "bomb"):
        (data,) = contents(dirty_folder, defect)
        assert len(data) < 300_000
        if data.startswith(b"\x89PNG"):
            width_px, height_px = struct.unpack(">II", data[16:24])
            assert width_px * height_px >= 900_000_000


def test_copies_are_what_they_are_called(dirty_folder: Path, truth: ImageTruth) -> None:
    for kind in ("exact copy", "two labels", "leak"):
        for defect in of_kind(truth, kind):
            assert len(set(contents(dirty_folder, defect))) == 1
    for defect in of_kind(truth, "same pixels"):
        first, second = contents(dirty_folder, defect)
        assert first != second and np.array_equal(_rgb(first), _rgb(second))
    for kind in ("near copy", "two labels, nearly", "leak, nearly"):
        for defect in of_kind(truth, kind):
            one, other = (_rgb(data) for data in contents(dirty_folder, defect))
            assert one.shape != other.shape or not np.array_equal(one, other)
            # Cropped ones are shifted against each other by up to a cell of the thumbnails.
            assert np.corrcoef(_thumbnail(one), _thumbnail(other))[0, 1] > 0.7
    for defect in [*of_kind(truth, "leak"), *of_kind(truth, "leak, nearly")]:
        assert len({truth.splits[origin] for origin in defect.origins}) == 2


def test_extensions_lie_where_they_are_said_to(dirty_folder: Path, truth: ImageTruth) -> None:
    right = {"JPEG": (".jpg", ".jpeg"), "PNG": (".png",), "TIFF": (".tif",)}
    for defect in of_kind(truth, "wrong extension"):
        with Image.open(dirty_folder / defect.origins[0]) as image:
            assert not defect.origins[0].endswith(right.get(str(image.format), ()))
    assert all("." not in Path(d.origins[0]).name for d in of_kind(truth, "missing extension"))


def test_clean_pictures_are_whole_and_look_as_the_truth_says(
    dirty_folder: Path, truth: ImageTruth
) -> None:
    for origin in truth.clean:
        picture = _rgb((dirty_folder / origin).read_bytes())
        assert min(picture.shape[:2]) >= 32 and picture.std() > 8, origin
        if (view := truth.views.get(origin)) is not None:
            assert picture.shape[:2] == (view.height_px, view.width_px)
            off = np.abs(np.subtract(quarter_means(picture), view.quarters)).max()
            assert off < view.tolerance / 2, origin


def test_converted_pictures_look_right_to_pillow(dirty_folder: Path, truth: ImageTruth) -> None:
    for kind in ("EXIF orientation", "palette", "1 bit", "several frames"):
        for defect in of_kind(truth, kind):
            assert defect.view is not None
            picture = _rgb(contents(dirty_folder, defect)[0])
            off = np.abs(np.subtract(quarter_means(picture), defect.view.quarters)).max()
            assert off < defect.view.tolerance, (kind, off)


def test_no_clean_picture_is_nearly_another(dirty_folder: Path, truth: ImageTruth) -> None:
    pictures = {o: _rgb((dirty_folder / o).read_bytes()) for o in sorted(truth.clean)}
    thumbnails = {origin: _thumbnail(picture) for origin, picture in pictures.items()}
    for first, second in combinations(thumbnails, 2):
        alike = np.corrcoef(thumbnails[first], thumbnails[second])[0, 1]
        same_family = truth.benign.get(first, "").startswith("alike")
        assert alike < (0.98 if same_family else 0.9), (first, second, alike)


def test_tables_hold_at_least_600_defects_of_all_kinds() -> None:
    tables = [make_dirty_table(kind, SEED) for kind in KINDS]
    assert sum(len(table.planted) for table in tables) >= 600
    assert sum(cell.repairable for table in tables for cell in table.planted) >= 450
    assert len({kind for table in tables for kind in table.num_by_kind}) >= 35
    assert make_dirty_table("orders", SEED).data == tables[0].data
    assert make_dirty_table("orders", SEED + 1).data != tables[0].data


def test_planted_cells_stand_where_the_truth_says(table: TableTruth) -> None:
    lines = table.data.decode().split("\n")
    records = _records(table)
    columns = table.clean.columns
    assert len(records) == table.num_records
    for cell in table.planted:
        assert lines[cell.line - 1] == cell.dirty.split("\n")[0] or cell.column is not None
        if cell.column is not None:
            assert records[cell.record - 1][columns.index(cell.column)] == cell.dirty
            assert cell.dirty != cell.original or table.kind == "employees"
    in_records = [cell.record for cell in table.planted if cell.record]
    assert len(in_records) == len(set(in_records))


def test_rows_without_a_defect_are_the_clean_rows(table: TableTruth) -> None:
    planted = {cell.record for cell in table.planted}
    clean = {str(row[table.key]): row for row in table.clean.iter_rows(named=True)}
    names = [n for n, d in table.clean.schema.items() if str(d) in ("String", "Int64")]
    for number, fields in enumerate(_records(table), 1):
        if number not in planted:
            row = dict(zip(table.clean.columns, fields, strict=True))
            for name in names:
                wanted = canonical_text(clean[table.records[number]][name])
                assert comparable("String", row[name]) == wanted


def test_rules_hold_in_the_clean_table(table: TableTruth) -> None:
    for rule in table.rules:
        left, right = rule.split("==")
        values = {name: table.clean[name].to_numpy() for name in table.clean.columns}
        assert np.allclose(eval(left, {}, values), eval(right, {}, values), atol=0.006)


def test_variants_differ_and_the_plain_one_is_the_table() -> None:
    variants = csv_variants(SEED)
    assert len({variant.data for variant in variants}) == len(variants) >= 40
    assert len({variant.file_name for variant in variants}) == len(variants)
    assert sum(variant.expected is None for variant in variants) >= 6
    plain = variants[0]
    assert plain.expected is not None
    rows = list(csv.reader(io.StringIO(plain.data.decode(), newline="")))
    assert rows[0] == plain.expected.columns and len(rows) == plain.expected.height + 1
    assert [row[5] for row in rows[1:]] == plain.expected["note"].to_list()


def _is_whole_png(data: bytes) -> bool:
    """Every chunk with its checksum, up to the last, and all of the pixels."""
    place, packed = 8, b""
    while place + 12 <= len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        kind, body = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        check = data[place + 8 + length : place + 12 + length]
        if check != struct.pack(">I", zlib.crc32(kind + body)):
            return False
        packed += body if kind == b"IDAT" else b""
        place += length + 12
        if kind == b"IEND":
            unpacker = zlib.decompressobj()
            unpacker.decompress(packed)
            return unpacker.eof
    return False


def _records(table: TableTruth) -> list[list[str]]:
    text = io.StringIO(table.data.decode(), newline="")
    rows = list(csv.reader(text, delimiter=table.delimiter))[1:]
    return [row for row in rows if any(field.strip() for field in row)]


def _rgb(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def _thumbnail(picture: np.ndarray) -> np.ndarray:
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return cv2.resize(gray, (16, 16), interpolation=cv2.INTER_AREA).ravel().astype(np.float32)

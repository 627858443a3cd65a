"""A source in an object store, through the same opener: a real S3 protocol on this machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer
from pyarrow import fs

from components.records.files import open_filesystem, public_path
from components.sources.config import SourceConfig, TableSourceConfig
from components.sources.listing import list_source, read_chunk
from components.sources.tables import list_tables
from tests.components.sources.reading import listed, rows
from tests.components.sources.test_webdataset import samples, tar_bytes

# The server takes a second to import and another to stop.
pytestmark = pytest.mark.processes


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Options of an S3 URI that reach a server of this test."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"endpoint_override={host}:{port}&scheme=http&region=us-east-1"
    finally:
        server.stop()


def test_class_folders_in_s3_are_listed_and_read(store: str, tmp_path: Path) -> None:
    bucket, _ = fs.FileSystem.from_uri(f"s3://flowers/?{store}&allow_bucket_creation=true")
    bucket.create_dir("flowers")
    files = {"images/rose/a.png": b"aa", "images/rose/b c.png": b"bbb", "images/daisy/d.png": b""}
    for name, data in files.items():
        with bucket.open_output_stream(f"flowers/{name}") as stream:
            stream.write(data)

    uri = f"s3://flowers/images?{store}"
    listing = list_source(SourceConfig(path=uri), tmp_path)
    assert (listing.format, listing.num_records, listing.num_bytes) == ("folders", 3, 5)
    assert listing.declared_classes == ["daisy", "rose"]
    (chunk,) = listing.chunks
    records = list(read_chunk(SourceConfig(path=uri), listing.root, tmp_path / chunk))
    found = [(record.origin, record.label, record.data) for record in records]
    assert found == [
        ("daisy/d.png", "daisy", b""),
        ("rose/a.png", "rose", b"aa"),
        ("rose/b c.png", "rose", b"bbb"),
    ]
    assert public_path(uri) == "s3://flowers/images"


def test_tars_and_tables_in_s3_are_listed_and_read(store: str, tmp_path: Path) -> None:
    bucket, _ = fs.FileSystem.from_uri(f"s3://mixed/?{store}&allow_bucket_creation=true")
    bucket.create_dir("mixed")
    files = {"tars/a b.tar": tar_bytes(samples(1, 2)), "tables/x y.csv": b"a,b\n1,2\n"}
    for name, data in files.items():
        with bucket.open_output_stream(f"mixed/{name}") as stream:
            stream.write(data)
    listing, records = listed(tmp_path, f"s3://mixed/tars?{store}")
    assert rows(records) == [
        ("a b.tar#001.png", "1", None, bytes([1]) * 100),
        ("a b.tar#002.png", "0", None, bytes([2]) * 200),
    ]
    assert listing.format == "webdataset"

    for path in (f"s3://mixed/tables?{store}", f"s3://mixed/tables/x%20y.csv?{store}"):
        (file,) = list_tables(TableSourceConfig(path=path)).files
        filesystem, inner = open_filesystem(file.path)
        with filesystem.open_input_stream(inner) as stream:
            assert (file.origin, stream.read()) == ("x y.csv", b"a,b\n1,2\n")

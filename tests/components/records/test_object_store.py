"""A source in an object store, through the same opener: a real S3 protocol on this machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer
from pyarrow import fs

from components.records.files import public_path
from components.records.sources import SourceConfig, list_source, read_chunk


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

"""What a recipe says about its raw data: images or tables."""

from typing import Literal

from components.config import Config

SourceFormat = Literal["folders", "parquet", "manifest", "webdataset"]
TableForm = Literal["csv", "jsonl", "parquet"]


class SourceConfig(Config):
    """The raw pictures of a run."""

    path: str
    """Folder or file: local, relative to the working directory, or any pyarrow filesystem URI
    (s3://..., gs://...). `builtin:digits` is the handwritten digits of scikit-learn, written out
    as class folders first."""
    format: Literal["auto", "folders", "parquet", "manifest", "webdataset"] = "auto"
    """`folders`: one folder per class, or train/, val/ (validation/), test/ with class folders in
    each. `parquet`: one file or a folder of them, with the images' bytes in a column. `manifest`:
    a CSV, TSV or JSON Lines file of paths and labels. `webdataset`: a .tar (.tar.gz) file or a
    folder of them; members that share a name up to the first dot are one sample. `auto` looks at
    the path."""
    image_column: str = "image"
    """Parquet: column of encoded image bytes (or a struct with a `bytes` field). WebDataset: the
    extension of the picture's member (such as `input.png`); `image` takes any picture."""
    path_column: str = "path"
    """Manifest: column of image paths, relative to the manifest, absolute, or URIs."""
    label_column: str = "label"
    """Parquet and manifest: column of class names. WebDataset: key in the sample's .json; else
    its `cls` or `class` counts, and a .cls member before any .json, a .txt member after it."""
    split_column: str | None = None
    """Parquet and manifest: column that names the split (train, val or validation, test).
    WebDataset: key in the sample's .json; without it, the names of folders and files tell."""


class TableSourceConfig(Config):
    """The raw tables of a run."""

    path: str
    """A CSV, TSV, JSON Lines or Parquet file, or a folder of files of one of these forms: local,
    relative to the working directory, or any pyarrow filesystem URI. CSV and JSON Lines may be
    compressed (.gz, .zst, .bz2)."""
    format: Literal["auto", "csv", "jsonl", "parquet"] = "auto"
    """`csv`: text with a delimiter, whichever it is. `jsonl`: one JSON object per line. `parquet`.
    `auto` looks at the extension."""
    encoding: str | None = None
    """Encoding of CSV and JSON Lines, as Python names it (utf-8, cp1252, utf-16). Unset: found
    out from the bytes, and reported where it is not UTF-8."""
    delimiter: str | None = None
    """What stands between the fields of a CSV file (one character). Unset: found out."""
    header: Literal["auto"] | bool = "auto"
    """Whether the first row of a CSV file names the columns. Without a header they are named
    column_1, column_2 and so on."""
    split_column: str | None = None
    """Column that names the split (train, val or validation, test). Unset: the names of the files
    tell (train.csv and test.csv), or the recipe's shares do."""

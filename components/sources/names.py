"""What names tell: files that are no pictures, hidden folders, names that are not UTF-8."""

import os
import posixpath
import re

PICTURE_EXTENSIONS = frozenset(
    [
        "jpg",
        "jpeg",
        "jpe",
        "jfif",
        "png",
        "webp",
        "gif",
        "bmp",
        "dib",
        "tif",
        "tiff",
        "ppm",
        "pgm",
        "pbm",
        "pnm",
        "jp2",
        "avif",
        "heic",
        "heif",
    ]
)
_JUNK_NAMES = frozenset(
    [
        ".ds_store",
        ".directory",
        ".gitkeep",
        ".gitignore",
        ".gitattributes",
        ".keep",
        ".localized",
        ".nomedia",
        ".hidden",
        ".picasa.ini",
        "picasa.ini",
        "desktop.ini",
        "thumbs.db",
        "ehthumbs.db",
        "ehthumbs_vista.db",
        "iconcache.db",
        "readme",
        "license",
        "licence",
        "copying",
        "notice",
        "authors",
        "changelog",
        "citation",
        "md5sums",
        "sha1sums",
        "sha256sums",
        "sha512sums",
        "checksums",
        "_success",
        "icon\r",
    ]
)
# Text, markup, code, checksums, shortcuts, editors' leavings: beside pictures, never pictures.
_JUNK_EXTENSIONS = frozenset(
    [
        "txt",
        "text",
        "md",
        "rst",
        "json",
        "jsonl",
        "ndjson",
        "csv",
        "tsv",
        "xml",
        "xmp",
        "yaml",
        "yml",
        "toml",
        "ini",
        "cfg",
        "conf",
        "log",
        "html",
        "htm",
        "css",
        "js",
        "py",
        "pyc",
        "ipynb",
        "sh",
        "bat",
        "url",
        "lnk",
        "desktop",
        "torrent",
        "md5",
        "sha1",
        "sha256",
        "sha512",
        "sfv",
        "crc",
        "bak",
        "swp",
        "swo",
        "orig",
    ]
)
_UNFINISHED_EXTENSIONS = frozenset(
    ["tmp", "temp", "part", "partial", "crdownload", "download", "filepart", "opdownload", "aria2"]
)
_HIDDEN_FOLDERS = frozenset(
    ("__macosx", "__pycache__", "@eadir", "$recycle.bin", "lost+found", "system volume information")
)
_MAGIC = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n|GIF8[79]a|RIFF....WEBP|II\*\0|MM\0\*|....ftyp(avi|hei|mif|msf)"
    rb"|BM....\0\0\0\0....[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0",
    re.DOTALL,
)
MAGIC_BYTES = 32


def extension(name: str) -> str:
    """Extension of a file name in lower case, without its dot; empty where there is none."""
    return posixpath.splitext(name)[1][1:].lower()


def junk(name: str) -> str | None:
    """What a file is that cannot be a picture, told by its name alone; None for all others.

    Files with a picture's extension, or with none, are never junk, unless they are hidden.

    Args:
        name: File name without its folder.
    """
    lower, ending = name.lower(), extension(name)
    if lower.startswith("._"):
        return "a companion file of macOS"
    if lower in _JUNK_NAMES:
        return "a file of the system or of the folder's keeper"
    if name.startswith("."):
        return "a hidden file"
    if unfinished(name):
        return "an unfinished download or a temporary file"
    if ending in _JUNK_EXTENSIONS:
        return f"a .{ending} file beside pictures"
    if name.endswith("~") or name.startswith("~$"):
        return "an editor's leaving"
    return None


def unfinished(name: str) -> bool:
    """Whether a name says that the file is not whole yet, whatever its bytes look like."""
    return extension(name) in _UNFINISHED_EXTENSIONS


def never_a_picture(name: str) -> bool:
    """Whether a file is none of the source's pictures, even where its bytes are those of one."""
    return name.startswith(".") or unfinished(name)


def looks_like_picture(head: bytes) -> bool:
    """Whether a file's first 32 bytes are those of a picture, whatever its name says."""
    return _MAGIC.match(head) is not None


def is_hidden_folder(name: str) -> bool:
    """Whether a folder is the system's or a tool's (.git, __MACOSX, .ipynb_checkpoints)."""
    return name.startswith(".") or name.lower() in _HIDDEN_FOLDERS


def is_utf8(name: str) -> bool:
    """Whether a name, as `os.scandir` or `tarfile` gives it, is UTF-8."""
    if name.isascii():
        return True
    try:
        name.encode()
    except UnicodeEncodeError:  # surrogates stand for the bytes that are not
        return False
    return True


def shown(name: str) -> str:
    r"""A name as UTF-8, byte-exact and reversible: `caf\xe9.jpg` for what is not UTF-8.

    In such a name a backslash of its own is written `\x5c`; names that are UTF-8 stay as they are.
    """
    if is_utf8(name):
        return name
    return os.fsencode(name).replace(b"\\", rb"\x5c").decode("utf-8", "backslashreplace")

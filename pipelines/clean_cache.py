"""clean-cache: remove the stages of prepare, and data sets that no package was trained on."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from components.records.files import storage_errors
from components.records.manifest import MANIFEST_NAME, read_manifest
from pipelines.folders import datasets_folder, shown
from pipelines.stages import cache_folder

_DAY_S = 86_400.0


def clean_cache(output: Path, *, older_than_days: float, datasets: bool) -> dict[str, Any]:
    """Remove what prepare can make again.

    Args:
        output: The recipe's output folder.
        older_than_days: Only what was not changed for so long.
        datasets: Also prepared data sets that no model package in `output` was trained on.

    Returns:
        `removed` (paths), `in_use` (stages that a running prepare holds) and `freed_bytes`.
    """
    before_s = time.time() - older_than_days * _DAY_S
    removed: list[str] = []
    in_use: list[str] = []
    freed = 0
    with storage_errors(str(output)):
        for lock in sorted(cache_folder(output).glob("*.lock")):
            folder = lock.with_suffix("")
            if folder.is_dir() and folder.stat().st_mtime > before_s:
                continue
            try:
                with FileLock(lock, timeout=0):
                    freed += _remove(folder, removed)
                    lock.unlink()
            except Timeout:
                in_use.append(shown(folder))
        if datasets:
            used = _trained_on(output)
            for folder in sorted(datasets_folder(output).glob("*")):
                if not (folder / MANIFEST_NAME).is_file() or folder.stat().st_mtime > before_s:
                    continue
                if read_manifest(folder).fingerprint not in used:
                    freed += _remove(folder, removed)
    return {"removed": removed, "in_use": in_use, "freed_bytes": freed}


def _remove(folder: Path, removed: list[str]) -> int:
    if not folder.is_dir():
        return 0
    # A shard that a data set shares with a stage by a link frees nothing here.
    files = [path.stat() for path in folder.rglob("*") if path.is_file()]
    shutil.rmtree(folder)
    removed.append(shown(folder))
    return sum(stat.st_size for stat in files if stat.st_nlink == 1)


def _trained_on(output: Path) -> set[str]:
    """Fingerprints of the data sets that packages were trained on."""
    return {
        str(json.loads(index.read_text(encoding="utf-8")).get("dataset_fingerprint"))
        for index in output.glob("*/package/package.json")
    }

"""Where runs lie, and whose they are."""

from pathlib import Path

from pipelines.folders import new_run_folder, run_folders


def test_runs_are_those_of_the_recipe_and_of_no_other(tmp_path: Path) -> None:
    mine = new_run_folder(tmp_path, "images").path
    others = [new_run_folder(tmp_path, name).path for name in ("images-big", "images-2")]
    for folder in (mine, *others):
        folder.mkdir()
    assert run_folders(tmp_path, "images") == [mine]

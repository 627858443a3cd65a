"""Where a run runs: the resource plan and the one owner of ray.init."""

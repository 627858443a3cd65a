"""The jobs: one file per job, each reads top to bottom."""

"""Tasks: each ties a modality, a model head, a loss and metrics together, in one file."""

"""Schedules, optimizers, the training step and loop, metrics and checkpoints."""

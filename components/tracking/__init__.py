"""The tracker protocol and MLflow behind it."""

"""The parts: plain functions and small classes that work without a cluster."""

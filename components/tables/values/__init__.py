"""Cells as values: numbers, dates, booleans, missing values and text, however they are spelled."""

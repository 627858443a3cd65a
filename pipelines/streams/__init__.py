"""The only code that speaks Ray Data."""

"""Files of tables: how they are written, and their records as raw frames."""

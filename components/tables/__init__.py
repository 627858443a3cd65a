"""Tables: read what people call CSV, learn its schema, clean it, fit and encode it."""

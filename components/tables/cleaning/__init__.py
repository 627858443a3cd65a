"""Raw records put right: shifted rows, spellings, outliers, rules."""

"""Reference networks, Hugging Face classifiers and the model package."""

"""Where records come from: what a source holds, listed in bounded pieces, and how each is read."""

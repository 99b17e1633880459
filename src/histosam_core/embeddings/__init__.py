"""Image embeddings: their keys, and the stores in memory and on disk that keep them."""

"""Image embeddings: their keys, and the memory and disk that keep them."""

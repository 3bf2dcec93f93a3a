"""Editing a picture: inversion to noises or embeddings, and any per-step method from there."""

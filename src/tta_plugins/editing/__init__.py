"""Editing an image: inversion to noises or embeddings, then any method that works step by step."""

"""Editing an image: inversion to noises or embeddings, and then sampling with any method that works step by step."""

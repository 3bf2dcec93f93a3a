"""Frozen values, and the checks that they are made with: no networks, no plugins, nothing that changes."""

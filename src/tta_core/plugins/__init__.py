"""Plugins: hook specifications, discovery, the registry of names, and resolving a name to an object."""

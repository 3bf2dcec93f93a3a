"""How plugins are found and named: hook specifications, the registry, and the resolution of what a user writes."""

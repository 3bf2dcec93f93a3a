"""Values: frozen data and the checks of its construction; no networks and no plugins."""

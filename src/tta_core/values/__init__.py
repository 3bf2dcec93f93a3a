"""Values: frozen data classes and the checks of their fields; no networks and no plugins."""

"""Forecasts of runs that are described and not loaded: networks from their configurations alone."""

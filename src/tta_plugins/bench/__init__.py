"""Comparisons of methods at equal cost: planned in a file, sampled cell by cell, scored afterwards, tested with intervals."""

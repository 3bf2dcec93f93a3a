"""Comparisons of methods at equal cost: planned in a file, drawn cell by cell, scored afterwards, judged with intervals."""

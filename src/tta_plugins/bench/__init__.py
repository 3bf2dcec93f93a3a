"""Comparisons of methods at equal cost: planned in a file, drawn by resumable cells, scored afterwards, read with intervals and verdicts."""

"""The cost of a run: FLOPs and peak memory, counted during the run or predicted before it."""

"""What a run costs: counted while it runs, or predicted before it begins."""

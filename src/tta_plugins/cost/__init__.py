"""What a run costs, counted and foretold."""

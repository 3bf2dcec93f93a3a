"""Rewards in another process: in another Python environment, for libraries that cannot be installed in this one, with gradients."""

"""Rewards in a process of their own: another Python, with libraries that cannot be installed beside these, and gradients all the same."""

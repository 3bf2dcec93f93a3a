"""Solving: the parts that methods are written with: problem, positions, gradients, resampling, and compatibility checks."""

"""Solving: what a method is written with: a problem, its positions, gradients, resampling, and compatibility checks."""

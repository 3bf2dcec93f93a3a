"""The words in which a method is written: a problem, its positions, gradients, and what cannot work together."""

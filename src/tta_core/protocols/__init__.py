"""What other people implement: backbones, schedulers, rewards, variables, methods and memory policies; and wrappers around them."""

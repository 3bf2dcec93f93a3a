"""The built-in plugins: methods, schedulers, backbones, rewards, memory policies, the embedded model and the command line."""

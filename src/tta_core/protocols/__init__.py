"""The protocols that plugins implement: backbone, scheduler, reward, variable, method and memory policy; and wrappers for them."""

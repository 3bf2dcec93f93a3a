"""Everything that a policy could forget to restore in networks, comparable by ==."""


def state_of(networks):
    """The identity and bits of parameters and buffers, flags, hooks, and the attributes that were set on instances."""
    found = {}
    for role, network in networks.items():
        for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
            kept = (id(tensor), tensor.dtype, tensor.stride(), tensor.data_ptr(), tensor.requires_grad, tensor.flatten().tolist())
            found[f"{role}.{name}"] = kept
        for name, module in network.named_modules():
            hooks = {key: len(value) for key, value in vars(module).items() if key.endswith("_hooks")}
            own = sorted(key for key in vars(module) if not key.startswith("_"))
            found[f"{role}.{name} itself"] = (own, hooks, module.training, getattr(module, "gradient_checkpointing", None))
    return found

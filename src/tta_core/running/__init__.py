"""Running: from a user's arguments to a result: prepare, run, record, save, and restore the networks."""

"""From a user's arguments to a finished run: prepare, align, record, and everything handed back as it was."""

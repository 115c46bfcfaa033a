"""The command `hiva-hf`."""

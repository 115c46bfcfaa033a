"""Publishing: from the folder of a finished run to a repository on the Hub that others can use."""

from .publish import push_run_to_hub


__all__ = ["push_run_to_hub"]

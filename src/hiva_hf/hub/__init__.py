"""Publish a finished run in a repository on the Hub."""

from .publish import push_run_to_hub


__all__ = ["push_run_to_hub"]

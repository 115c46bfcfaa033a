"""Sentences about Action Units."""

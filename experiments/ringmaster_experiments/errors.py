"""What ends an experiment before it has a verdict."""

from __future__ import annotations


class ExperimentError(Exception):
    """It cannot be run here or now; one line for the user."""


class UsageError(ExperimentError):
    """It was asked for in a way that cannot be meant; one line for the user."""

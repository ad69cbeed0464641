"""Importing this declares every scenario."""

from . import administration, consume, produce, protocols, retry, survive, volume  # noqa: F401

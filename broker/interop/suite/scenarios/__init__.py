"""Importing this declares every scenario."""

from . import administration, consume, migrate, produce, protocols, retry, survive, volume  # noqa: F401

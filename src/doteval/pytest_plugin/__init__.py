"""The pytest plugin: fixtures that lease models."""

from __future__ import annotations

"""All that there is of the plugin where pytest is too old for it: one line, and no option, fixture or hook besides.

It is installed with doteval, also where somebody wants nothing of it but a client in an app.
"""

from __future__ import annotations

import pytest


def pytest_report_header() -> str:
    """Say why there is no more."""
    return f"doteval: its fixtures and options need pytest 8.4 or later, so they are not there in {pytest.__version__}"

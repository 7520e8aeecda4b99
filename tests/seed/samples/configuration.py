# Of the best practices, the one on configuration (a fixture that takes its setting from the command line where the
# option is there), and the one on saying what lives how long (a manager's docstring).
# Letter for letter. The two samples agree on the name of the application's manager, so it is written out here once; what
# the docstring promises stands below it.

import pytest

from doteval import ModelHandle

# ---------------------------------------------------------------- the sample on the lifecycle

class MyManager:
    """Resource manager for X service.

    Lifecycle:
    - Resources are created on first request (lazy)
    - Resources are cached and reused
    - Call shutdown() to clean up all resources

    Thread-safety:
    - get_client() is thread-safe
    - setup/teardown operations are async-safe
    """

# ---------------------------------------------------------------- what the application adds

    def __init__(self, url):
        self.url = url
        self.resources = {}

    async def setup(self, spec):
        resource = self.resources.setdefault(spec, f"{self.url}/{spec}")
        return ModelHandle(spec, resource, self)

    async def teardown(self, resource_id):
        pass

    def shutdown(self):
        self.resources.clear()

# ---------------------------------------------------------------- the sample on configuration

@pytest.fixture(scope="session")
def my_manager(request):
    """Flexible configuration."""
    # Check for CLI options
    if hasattr(request, "config"):
        url = request.config.getoption("--api-url", "http://localhost")
    else:
        url = "http://localhost"

    return MyManager(url)

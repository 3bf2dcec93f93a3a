"""The embedded model, loaded once."""

import pytest

from tta_plugins.shapes.registered import shapes as load


@pytest.fixture(scope="session")
def shapes():
    return load()

"""One recorded main job for all tests of replay."""

from collections.abc import Iterator

import pytest

from tests.agents.history.recorded import Recorded, recorded


@pytest.fixture(scope="package")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    """Yield some thousand interactions of 300 customers, folded by a main job that has ended."""
    with recorded(tmp_path_factory.mktemp("past"), interactions=4_000) as found:
        assert len(found.live) > 500
        assert found.repeated > 0
        yield found

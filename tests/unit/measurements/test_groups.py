"""Tests that share a model or a service run on one test process; pytest-xdist has lost that silently before."""

import os

import pytest


@pytest.mark.xdist_group("together")
@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="the tests run in one process")
def test_what_belongs_together_is_told_to_who_distributes_the_tests(request: pytest.FixtureRequest) -> None:
    assert request.node.nodeid.endswith("@together")

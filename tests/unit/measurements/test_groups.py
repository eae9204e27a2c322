"""Tests that share a model or a service run on one test process; pytest-xdist has lost that silently before."""

import os

import pytest


@pytest.mark.xdist_group("together")
@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="the tests run in one process")
def test_groups_of_tests_are_passed_to_xdist(request: pytest.FixtureRequest) -> None:
    assert request.node.nodeid.endswith("@together")

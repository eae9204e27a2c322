"""Reports each failed test as soon as it fails; pytest itself names failed tests at the end of a run."""

import pytest


class FailureReporter:
    """A pytest plugin that writes a line for each failure, between the dots of the progress."""

    def __init__(self, config: pytest.Config) -> None:
        self._plugins = config.pluginmanager

    @pytest.hookimpl(trylast=True)  # the character of the progress comes first
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write the name of the test and the last line of its error: the location or the exception."""
        terminal: pytest.TerminalReporter | None = self._plugins.getplugin("terminalreporter")
        if report.failed and terminal is not None:
            reason = report.longreprtext.splitlines()[-1:]
            terminal.write_line("")
            terminal.write_line(" ".join(["FAILED", report.nodeid, *reason]))

"""The exit codes of the command besides 0 and 1."""

USAGE = 2  # wrong options or settings
INTERRUPTED = 130  # what shells use for SIGINT
OUTPUT_CLOSED = 141  # what shells use for SIGPIPE: the process that reads the output has ended

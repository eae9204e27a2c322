"""The exit codes of the command in addition to 0 (success) and 1 (failure)."""

USAGE = 2  # wrong options or settings
INTERRUPTED = 130  # what shells use for SIGINT
OUTPUT_CLOSED = 141  # what shells use for SIGPIPE: the process that reads the output has ended

"""The contract: subjects, headers and messages. Fields have the same names in Python and in JSON."""

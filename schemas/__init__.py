"""The contract: subjects, headers and messages. The names of the fields are the names on the wire."""

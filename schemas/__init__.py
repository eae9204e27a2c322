"""What travels: subjects and messages. The field names here are the wire."""

"""Audio: decode a recording or live audio within limits, choose its channels, and detect its windows of speech."""

"""Audio: decode a recording within limits, choose its channels, and find its windows."""

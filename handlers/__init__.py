"""FastStream handlers, one file for each group of channels: they parse messages and call the code in `app`."""

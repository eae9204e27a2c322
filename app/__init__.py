"""How it is done: settings, streams, the task log, Redis, audio, engines; `parts` joins all, `main` runs it."""

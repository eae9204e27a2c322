"""How it is done: settings, streams, the task log, Redis, audio, engines; `main` joins all."""

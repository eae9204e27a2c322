"""The service: `main` runs a worker, `container` builds its parts, and the other modules are these parts."""

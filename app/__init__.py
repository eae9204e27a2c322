"""The service: `main` runs a worker, `container` creates its components, the other modules are these components."""

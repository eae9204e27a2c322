"""The service: `main` runs a worker, `container` creates its components, the packages are these components."""

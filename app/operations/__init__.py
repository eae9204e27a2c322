"""What goes on beside the tasks: figures, health, what is missing or has waited too long."""

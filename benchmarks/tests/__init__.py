"""What the measurements say of what they have found."""

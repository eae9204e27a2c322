"""Programs for those who change the repository."""

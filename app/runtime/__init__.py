"""What each process needs: errors, cancellation, supervision, temporary files, logs, metrics and traces."""

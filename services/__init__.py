"""Services on top of the events: applications that another team could have written from the contract alone."""

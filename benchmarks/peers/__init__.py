"""Other programs for the same work (peers): each used as its documentation says, in an environment apart."""

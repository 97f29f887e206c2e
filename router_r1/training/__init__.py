"""Training on upstream veRL: the only package here that imports verl or ray."""

"""`agent=supervised`: a convolutional network that is taught by labels, in place of a player."""

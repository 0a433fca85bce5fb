"""What is read from strangers and written for others: files, locks, secrets."""

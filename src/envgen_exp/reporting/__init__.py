"""What is read from finished runs: statistics, the table of a run, the table of a sweep."""

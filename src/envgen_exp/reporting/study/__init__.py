"""A study: statistics, tables, claims."""

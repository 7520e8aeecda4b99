"""Running an evaluation: rows from a dataset, many at once, each given its arguments."""

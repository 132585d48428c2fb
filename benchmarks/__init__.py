"""What things cost. Each file measures one thing, needs no data set, and prints a table."""

"""What a query is asked: the objective, and its value under a network."""

"""The objective of a query, and its value under a network."""

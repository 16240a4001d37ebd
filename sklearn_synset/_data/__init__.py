"""The data: rows, targets, and the groups that training rows are in."""

"""What queries lose without groups, or without single rows."""

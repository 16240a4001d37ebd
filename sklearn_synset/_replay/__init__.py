"""Training networks side by side as one was trained, with and without groups of rows."""

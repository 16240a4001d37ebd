"""A report in one HTML file: what it holds, how it is packed, and the page around it."""

"""What a fitted attributor is as a file, and as text."""

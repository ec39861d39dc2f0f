"""The panel, a file for each of its sections."""

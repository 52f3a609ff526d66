"""The inbox in the file system: what waits in it, and where it goes. Start with inbox.py; it imports files/ only."""

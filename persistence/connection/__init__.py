"""The connection to the server: driver session, statements, errors, and work that isolates bad rows."""

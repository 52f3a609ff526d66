"""The embedded PostgreSQL server, for trying out, tests and the demo."""

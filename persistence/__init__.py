"""What PostgreSQL keeps: schema, one module a subject, and the embedded server."""

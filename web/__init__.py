"""The ops endpoint and its control room: how billing stands, for monitoring and for a browser."""

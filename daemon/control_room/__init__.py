"""The control room: how billing stands and what a person may do about it, as pages for a browser."""

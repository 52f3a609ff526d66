"""Addresses of other machines: resolving and connecting under a deadline, URLs. It imports files only."""

"""Addresses of other machines: resolving and connecting under a deadline, URLs. It imports nothing of ours."""

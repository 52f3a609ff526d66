"""Names and addresses of other machines: resolving under a deadline, URLs. It imports nothing of ours."""

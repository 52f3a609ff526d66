"""The Altibiz contract: its models, a client that turns any answer into one of a few outcomes, and a fake ERP."""

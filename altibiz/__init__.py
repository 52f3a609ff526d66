"""The Altibiz contract: what its answers mean, a client that asks for them, and a fake ERP."""

"""The actors of billingd: receive, call pure code, write or ask, tell the next."""

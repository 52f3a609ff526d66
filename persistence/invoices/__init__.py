"""Invoices: claims, transitions (the only writer of state), what is read of them, a person's orders."""

"""The fake ERP: the contract whole, a book that survives a kill, and faults on request."""

"""The fake ERP: the contract whole, a book that survives a kill, and faults on request."""

from altibiz.fake.server import FakeAltibiz, serve

__all__ = ["FakeAltibiz", "serve"]

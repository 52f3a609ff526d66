"""The rules of billing, pure: periods, tariffs, calculation, invoice, states."""

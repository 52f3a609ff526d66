"""Supervision trees with the semantics of OTP, for thread actors."""

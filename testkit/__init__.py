"""Starts what billingd runs with, once for demo, drills, benchmarks and tests: a daemon, PostgreSQL, a fake ERP."""

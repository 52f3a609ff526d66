"""The n-th call to the outside fails, for every n: a month is run once for each call and each fault, and judged."""

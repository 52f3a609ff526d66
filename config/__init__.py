"""The settings as typed models, read from YAML with every problem named by key and line."""

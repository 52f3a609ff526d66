"""The room of files that people write: YAML as nodes with their lines, and the id of a file."""

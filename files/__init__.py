"""The room of files that people write: opened as regular files, YAML as nodes with lines, the id of a file."""

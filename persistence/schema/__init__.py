"""The schema: migrations, with the SQL of tables, functions and triggers in `sql/`. Begin with migrate.py."""

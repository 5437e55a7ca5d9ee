"""PostgreSQL: pool, named SQL, migrations, and the embedded server."""

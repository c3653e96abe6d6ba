"""Where trials are stored: SQLite, journal, PostgreSQL, their snapshots, locks and retries."""

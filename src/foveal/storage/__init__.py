"""What a service keeps: tables, files, the queue of work, and the trail, the append-only record of everything.

One set of tables on SQLite (embedded) and PostgreSQL. This room knows neither HTTP nor networks: it is handed
rows and bytes, and promises that what a `write` has committed is there after a power cut.
"""

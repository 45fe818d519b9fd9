"""Runs SQL by DuckDB over the rows of a CSV file, which it sees as `vitals`: oracle.py FILE.csv < SQL

Prints a row a line, values separated by "|", NULL as NULL.
"""

import sys

import duckdb

connection = duckdb.connect()
connection.execute("SET TimeZone = 'UTC'")
connection.execute(
    "CREATE TABLE vitals AS SELECT * FROM read_csv(?, header = true, columns = {"
    "'patient_id': 'VARCHAR', 'event_time': 'TIMESTAMP', 'part': 'INTEGER', 'off': 'BIGINT',"
    "'heart_rate': 'DOUBLE', 'spo2': 'DOUBLE'})",
    [sys.argv[1]],
)
for row in connection.execute(sys.stdin.read()).fetchall():
    print("|".join("NULL" if value is None else str(value) for value in row))

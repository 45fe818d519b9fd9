-- A sensor sends what cannot be read, or what cannot be: outside the plausible
-- range that the job file gives the column. Other rules do not see such
-- values. Of several at one time, the first column's counts.
-- @severity: technical
-- @for: 10s
-- @clear_after: 30s
-- @message: {column_name}: "{text}" {reason}
SELECT
    patient_id,
    event_time,
    min(column_name) AS column_name,
    first_value(text ORDER BY column_name, text) AS text,
    first_value(reason ORDER BY column_name, text) AS reason
FROM vitals_artefacts
GROUP BY patient_id, event_time

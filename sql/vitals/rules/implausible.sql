-- A sensor sends what cannot be: outside the plausible range that the job file
-- gives the column. Other rules do not see such values.
-- @severity: technical
-- @for: 10s
-- @clear_after: 30s
-- @message: {column_name} of {value:.1} cannot be
SELECT
    patient_id,
    event_time,
    min(column_name) AS column_name,
    max(value) AS value
FROM vitals_artefacts
GROUP BY patient_id, event_time

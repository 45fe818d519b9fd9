-- The heart beats fast: above 120 /min, the makers' default limit for adults.
-- @severity: high
-- @for: 10s
-- @clear_after: 15s
-- @message: HR {heart_rate:.0} > 120
SELECT patient_id, event_time, heart_rate
FROM vitals
WHERE heart_rate > 120

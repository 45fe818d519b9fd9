-- The heart rate is above 100 /min though the patient exercises: sport mode
-- holds the alert back for two minutes, as in the original project.
-- @severity: medium
-- @for: 120s
-- @message: HR {heart_rate:.0} > 100 in sport mode
SELECT patient_id, event_time, heart_rate
FROM patient_data
WHERE heart_rate > 100 AND sport_mode IS TRUE

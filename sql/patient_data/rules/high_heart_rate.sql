-- The heart rate is above 100 /min, the original project's limit. While the
-- patient exercises, `high_heart_rate_sport` waits for two minutes.
-- @severity: medium
-- @allow: no-delay       -- as in the original project
-- @message: HR {heart_rate:.0} > 100
SELECT patient_id, event_time, heart_rate
FROM patient_data
WHERE heart_rate > 100 AND sport_mode IS NOT TRUE

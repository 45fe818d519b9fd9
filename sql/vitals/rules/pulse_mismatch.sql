-- The heart beats at another rate than the pulse at the finger, by more than
-- 10 /min: beats that do not reach it (a pulse deficit, as in atrial
-- fibrillation), or a sensor that counts wrongly. More than 10 is what bedside
-- textbooks call a deficit.
-- @severity: low
-- @for: 60s
-- @clear_after: 30s
-- @peak: max(difference)
-- @message: HR {heart_rate:.0}, pulse {pulse:.0}
SELECT
    patient_id,
    event_time,
    heart_rate,
    pulse,
    abs(heart_rate - pulse) AS difference
FROM vitals
WHERE abs(heart_rate - pulse) > 10

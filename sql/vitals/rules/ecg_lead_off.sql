-- A heart rate too low to be one, such as 0, while the finger has a pulse that
-- is fast enough for this patient: the ECG's leads are off, a matter of the
-- sensor. `bradycardia` leaves such readings out.
-- @severity: technical
-- @for: 5s
-- @clear_after: 5s
-- @message: ECG leads off: HR {heart_rate:.0}, pulse {pulse:.0}
SELECT
    v.patient_id,
    v.event_time,
    v.heart_rate_doubtful AS heart_rate,
    v.pulse
FROM vitals AS v
JOIN thresholds AS t ON t.patient_id = v.patient_id AND t.vital = 'heart_rate'
WHERE v.heart_rate_doubtful IS NOT NULL AND v.pulse >= t.low

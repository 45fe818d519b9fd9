-- Too little oxygen: saturation below 90 %, the makers' default limit for adults.
-- @severity: high
-- @for: 10s
-- @clear_after: 15s
-- @message: SpO₂ {spo2:.0} < 90
SELECT patient_id, event_time, spo2
FROM vitals
WHERE spo2 < 90

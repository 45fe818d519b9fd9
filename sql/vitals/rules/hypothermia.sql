-- Too cold for this patient; without a limit of their own, 35.0 °C or less,
-- the band that scores 3 in NEWS2 (Royal College of Physicians 2017, chart 1).
-- @severity: medium
-- @for: 30s
-- @clear_after: 60s
-- @clear_when: round(v.temperature - t.low, 1) >= 0.3
-- @message: temperature {temperature:.1} <= {low:.1}
SELECT v.patient_id, v.event_time, v.temperature, t.low
FROM vitals AS v
JOIN thresholds AS t ON t.patient_id = v.patient_id AND t.vital = 'temperature'
WHERE v.temperature <= t.low

-- Too cold for this patient; without a limit of their own, 35.0 °C or less,
-- the band that scores 3 in NEWS2 (Royal College of Physicians 2017, chart 1).
-- A value below the plausible range may be true: it counts, and is told as
-- doubtful.
-- @severity: medium
-- @for: 30s
-- @clear_after: 60s
-- @clear_when: round(v.temperature - t.low, 1) >= 0.3
-- @message: temperature {temperature:.1}{doubtful} <= {low:.1}
SELECT
    v.patient_id,
    v.event_time,
    coalesce(v.temperature, v.temperature_doubtful) AS temperature,
    CASE WHEN v.temperature IS NULL THEN ' (doubtful)' ELSE '' END AS doubtful,
    t.low
FROM vitals AS v
JOIN thresholds AS t ON t.patient_id = v.patient_id AND t.vital = 'temperature'
WHERE coalesce(v.temperature, v.temperature_doubtful) <= t.low

-- The mean saturation of half a minute lies below 90 %: not a dip that a moving
-- finger makes, as the rule on single readings may be. Of the windows that overlap,
-- the worst counts.
-- @severity: high
-- @clear_after: 20s
-- @repeat: 3m
-- @message: SpO₂ {spo2_avg:.1} < 90 over 30 s
SELECT patient_id, min(spo2_avg) AS spo2_avg
FROM spo2_30s
WHERE spo2_avg < 90 AND readings >= 10
GROUP BY patient_id

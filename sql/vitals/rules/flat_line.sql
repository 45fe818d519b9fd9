-- Heart rate and respiration have not moved by anything for three minutes,
-- though readings come: a device or gateway that repeats itself. A heart alone
-- may stand still, as a pacemaker's does; breathing varies.
-- @severity: technical
-- @clear_after: 4m
-- @message: HR {heart_rate:.0}, RR {respiratory_rate:.0} unchanged for 3 min
SELECT
    patient_id,
    max(heart_rate_max) AS heart_rate,
    max(respiratory_rate_max) AS respiratory_rate
FROM movement_5m
WHERE
    heart_rate_count >= 180
    AND respiratory_rate_count >= 180
    AND heart_rate_min = heart_rate_max
    AND respiratory_rate_min = respiratory_rate_max
    AND respiratory_rate_max > 0
GROUP BY patient_id

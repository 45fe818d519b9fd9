-- The newest complete minute's NEWS2-style score of each patient, and the
-- lowest and highest of that minute and the five before: of the windows that
-- overlap, the one that begins five minutes before the newest minute, or the
-- first after that.
SELECT
    patient_id,
    last_minute,
    minutes,
    score_min,
    score_max,
    score,
    parameters,
    label,
    risk,
    red
FROM (
    SELECT
        *,
        row_number() OVER (
            PARTITION BY patient_id
            ORDER BY last_minute DESC, window_start
        ) AS place
    FROM news2_trend
    WHERE window_start >= last_minute - INTERVAL '5 minutes'
) AS windows
WHERE place = 1

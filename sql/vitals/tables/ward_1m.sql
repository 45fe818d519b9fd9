-- Each ward in each minute: its patients, their NEWS2-style scores, and the
-- alerts that stand when the minute is over. Sums and counts, so that longer
-- spans and several wards can be averaged rightly: sum(score_sum) /
-- sum(score_count). A patient who is in no ward is in ''.
-- @key: ward, window_start
SELECT
    w.ward,
    w.window_start,                                             -- UTC
    w.patients,
    w.score_sum,
    w.score_count,
    CAST(w.score_sum AS DOUBLE) / nullif(w.score_count, 0) AS score_avg,
    w.score_max,
    w.patients_high,                                    -- scores of 7 and above
    coalesce(a.alerts, 0) AS alerts,
    coalesce(a.alerts_high, 0) AS alerts_high
FROM (
    SELECT
        coalesce(p.ward, '') AS ward,
        tumble(n.window_start, INTERVAL '1 minute') AS window_start,
        count(DISTINCT n.patient_id) AS patients,
        coalesce(sum(n.score), 0) AS score_sum,
        count(n.score) AS score_count,
        max(n.score) AS score_max,
        count(*) FILTER (WHERE n.score >= 7) AS patients_high
    FROM news2_1m AS n
    LEFT JOIN patients AS p ON p.patient_id = n.patient_id
    GROUP BY coalesce(p.ward, ''), tumble(n.window_start, INTERVAL '1 minute')
) AS w
LEFT JOIN ward_alerts AS a ON a.ward = w.ward

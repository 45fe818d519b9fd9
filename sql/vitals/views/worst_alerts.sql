-- Of each patient's alerts that stand, the worst: the most severe, of these
-- the oldest.
SELECT patient_id, rule, severity, text, firing_at, newest, alerts
FROM (
    SELECT
        *,
        count(*) OVER (PARTITION BY patient_id) AS alerts,
        max(since) OVER (PARTITION BY patient_id) AS newest,
        row_number() OVER (
            PARTITION BY patient_id
            ORDER BY severity_rank DESC, firing_at, rule
        ) AS place
    FROM open_alerts
) AS ranked
WHERE place = 1

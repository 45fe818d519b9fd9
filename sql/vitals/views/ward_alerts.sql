-- How many alerts stand in each ward; a patient who is in no ward is in ''.
SELECT
    coalesce(e.ward, p.ward, '') AS ward,
    count(*) AS alerts,
    count(*) FILTER (WHERE a.severity = 'high') AS alerts_high
FROM open_alerts AS a
LEFT JOIN encounters_now AS e ON e.patient_id = a.patient_id
LEFT JOIN patients AS p ON p.patient_id = a.patient_id
GROUP BY coalesce(e.ward, p.ward, '')

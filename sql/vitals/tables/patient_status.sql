-- One row for each patient, replaced whenever something came of them or an
-- alert fired: the last value of each vital and how old it is, the score of
-- the newest complete minute, and the worst alert that stands. Ages are by the
-- devices' time; alerts are those that stood after the batch before, so a row
-- is about a second behind the table `alerts`.
-- @key: patient_id
SELECT
    l.patient_id,
    l.event_time AS last_at,                                        -- UTC
    l.age_seconds,                                                  -- s
    l.heart_rate,                                                   -- /min
    l.heart_rate_age_seconds,                                       -- s
    l.respiratory_rate,                                             -- /min
    l.respiratory_rate_age_seconds,                                 -- s
    l.spo2,                                                         -- %
    l.spo2_age_seconds,                                             -- s
    l.systolic_bp,                                                  -- mmHg
    l.diastolic_bp,                                                 -- mmHg
    l.systolic_bp_age_seconds AS bp_age_seconds,                    -- s
    l.temperature,                                                  -- °C
    l.temperature_age_seconds,                                      -- s
    l.oxygen,
    l.consciousness,                                                -- ACVPU
    n.last_minute AS news2_at,                                      -- UTC
    n.score AS news2,
    n.parameters AS news2_parameters,                               -- of 7
    n.label AS news2_label,
    n.risk AS news2_risk,
    coalesce(a.alerts, 0) AS alerts,
    a.severity AS worst_severity,
    a.rule AS worst_rule,
    a.text AS worst_text,
    a.firing_at AS worst_since                                      -- UTC
FROM vitals_latest AS l
LEFT JOIN news2_now AS n ON n.patient_id = l.patient_id
LEFT JOIN worst_alerts AS a ON a.patient_id = l.patient_id
WHERE
    l.patient_id IN (SELECT patient_id FROM vitals)
    OR a.newest >= now() - INTERVAL '3 seconds'

-- The NEWS2-style score of each patient and minute, from the minute's medians.
--
-- Bands: Royal College of Physicians 2017, National Early Warning Score 2,
-- chart 1. The chart has whole units and tenths of a degree, so medians are
-- rounded first, halves away from zero. Scale 2 for SpO₂ is for patients whose
-- `patients.spo2_scale` is 2. A parameter that the minute lacks is never taken
-- for normal: the score is of those that are there, `label` says of how many,
-- and the true score is at least this. A respiration of 0 is a lead that is
-- off: a minute with such a reading has no respiration. The score is for
-- patients of 16 and over who are not pregnant: other age bands have rows
-- without one.
-- @key: patient_id, window_start
SELECT
    patient_id,
    window_start,                                               -- UTC
    score,
    parameters,                                                 -- of 7
    CASE
        WHEN parameters = 7 THEN CAST(score AS VARCHAR)
        WHEN parameters > 0 THEN concat(score, ' (', parameters, ' of 7)')
    END AS label,
    CASE
        WHEN score >= 7 THEN 'high'
        WHEN score >= 5 THEN 'medium'
        WHEN red <> '' THEN 'low-medium'
        WHEN score >= 0 THEN 'low'
    END AS risk,
    red,                                              -- what scores 3 by itself
    spo2_scale,
    respiratory_rate,                                           -- /min
    spo2,                                                       -- %
    oxygen,
    systolic_bp,                                                -- mmHg
    pulse,                                                      -- /min
    consciousness,                                              -- ACVPU
    temperature,                                                -- °C
    respiration_score,
    spo2_score,
    oxygen_score,
    systolic_score,
    pulse_score,
    consciousness_score,
    temperature_score
FROM (
    SELECT
        *,
        CASE
            WHEN parameters > 0
                THEN
                    coalesce(respiration_score, 0)
                    + coalesce(spo2_score, 0)
                    + coalesce(oxygen_score, 0)
                    + coalesce(systolic_score, 0)
                    + coalesce(pulse_score, 0)
                    + coalesce(consciousness_score, 0)
                    + coalesce(temperature_score, 0)
        END AS score,
        CASE WHEN parameters > 0 THEN concat_ws(
            ', ',
            CASE WHEN respiration_score = 3 THEN 'respiration' END,
            CASE WHEN spo2_score = 3 THEN 'SpO₂' END,
            CASE WHEN systolic_score = 3 THEN 'systolic pressure' END,
            CASE WHEN pulse_score = 3 THEN 'pulse' END,
            CASE WHEN consciousness_score = 3 THEN 'consciousness' END,
            CASE WHEN temperature_score = 3 THEN 'temperature' END
        ) END AS red
    FROM (
        SELECT
            *,
            CASE
                WHEN is_scored
                    THEN
                        CAST(respiration_score IS NOT NULL AS BIGINT)
                        + CAST(spo2_score IS NOT NULL AS BIGINT)
                        + CAST(oxygen_score IS NOT NULL AS BIGINT)
                        + CAST(systolic_score IS NOT NULL AS BIGINT)
                        + CAST(pulse_score IS NOT NULL AS BIGINT)
                        + CAST(consciousness_score IS NOT NULL AS BIGINT)
                        + CAST(temperature_score IS NOT NULL AS BIGINT)
            END AS parameters
        FROM (
            SELECT
                *,
                CASE
                    WHEN respiratory_rate <= 8 THEN 3
                    WHEN respiratory_rate <= 11 THEN 1
                    WHEN respiratory_rate <= 20 THEN 0
                    WHEN respiratory_rate <= 24 THEN 2
                    WHEN respiratory_rate > 24 THEN 3
                END AS respiration_score,
                CASE
                    WHEN spo2_scale = 1
                        THEN
                            CASE
                                WHEN spo2 <= 91 THEN 3
                                WHEN spo2 <= 93 THEN 2
                                WHEN spo2 <= 95 THEN 1
                                WHEN spo2 > 95 THEN 0
                            END
                    WHEN spo2 <= 83 THEN 3
                    WHEN spo2 <= 85 THEN 2
                    WHEN spo2 <= 87 THEN 1
                    WHEN spo2 <= 92 THEN 0
                    -- Above that it matters whether oxygen is given.
                    WHEN spo2 > 92 AND NOT oxygen THEN 0
                    WHEN spo2 <= 94 AND oxygen THEN 1
                    WHEN spo2 <= 96 AND oxygen THEN 2
                    WHEN spo2 > 96 AND oxygen THEN 3
                END AS spo2_score,
                CASE WHEN oxygen THEN 2 WHEN NOT oxygen THEN 0 END
                    AS oxygen_score,
                CASE
                    WHEN systolic_bp <= 90 THEN 3
                    WHEN systolic_bp <= 100 THEN 2
                    WHEN systolic_bp <= 110 THEN 1
                    WHEN systolic_bp <= 219 THEN 0
                    WHEN systolic_bp > 219 THEN 3
                END AS systolic_score,
                CASE
                    WHEN pulse <= 40 THEN 3
                    WHEN pulse <= 50 THEN 1
                    WHEN pulse <= 90 THEN 0
                    WHEN pulse <= 110 THEN 1
                    WHEN pulse <= 130 THEN 2
                    WHEN pulse > 130 THEN 3
                END AS pulse_score,
                CASE
                    WHEN consciousness = 'A' THEN 0
                    WHEN consciousness IN ('C', 'V', 'P', 'U') THEN 3
                END AS consciousness_score,
                CASE
                    WHEN temperature <= 35.0 THEN 3
                    WHEN temperature <= 36.0 THEN 1
                    WHEN temperature <= 38.0 THEN 0
                    WHEN temperature <= 39.0 THEN 1
                    WHEN temperature > 39.0 THEN 2
                END AS temperature_score
            FROM (
                SELECT
                    m.patient_id,
                    m.window_start,
                    CASE WHEN p.spo2_scale = 2 THEN 2 ELSE 1 END AS spo2_scale,
                    coalesce(p.age_band, '') IN ('', 'adult') AS is_scored,
                    round(m.respiratory_rate) AS respiratory_rate,
                    round(m.spo2) AS spo2,
                    m.oxygen,
                    round(m.systolic_bp) AS systolic_bp,
                    round(coalesce(m.heart_rate, m.pulse)) AS pulse,
                    upper(m.consciousness) AS consciousness,
                    round(m.temperature, 1) AS temperature
                FROM (
                    SELECT
                        patient_id,
                        tumble(event_time, INTERVAL '1 minute') AS window_start,
                        CASE
                            WHEN
                                min(respiratory_rate) > 0
                                THEN median(respiratory_rate)
                        END AS respiratory_rate,
                        median(spo2) AS spo2,
                        last_value(
                            CAST(oxygen AS INT) ORDER BY event_time, _offset
                        ) FILTER (WHERE oxygen IS NOT NULL) = 1 AS oxygen,
                        median(systolic_bp) AS systolic_bp,
                        median(heart_rate) AS heart_rate,
                        median(pulse) AS pulse,
                        last_value(consciousness ORDER BY event_time, _offset)
                        FILTER (WHERE consciousness IS NOT NULL)
                            AS consciousness,
                        median(temperature) AS temperature
                    FROM vitals
                    GROUP BY patient_id, tumble(event_time, INTERVAL '1 minute')
                ) AS m
                LEFT JOIN patients AS p ON p.patient_id = m.patient_id
            ) AS medians
        ) AS scored
    ) AS counted
) AS summed

-- Each patient's vitals in five minutes: the same as `vitals_1m` over a longer
-- span, from the readings themselves, since percentiles of minutes are none of
-- five minutes.
-- @key: patient_id, window_start
SELECT
    patient_id,
    tumble(event_time, INTERVAL '5 minutes') AS window_start,    -- UTC
    count(*) AS records,
    -- heart rate, /min
    avg(heart_rate) AS heart_rate_avg,
    min(heart_rate) AS heart_rate_min,
    max(heart_rate) AS heart_rate_max,
    stddev(heart_rate) AS heart_rate_sd,
    percentile_cont(heart_rate, 0.05) AS heart_rate_p5,
    percentile_cont(heart_rate, 0.95) AS heart_rate_p95,
    count(heart_rate) AS heart_rate_count,
    -- respiratory rate, /min
    avg(respiratory_rate) AS respiratory_rate_avg,
    min(respiratory_rate) AS respiratory_rate_min,
    max(respiratory_rate) AS respiratory_rate_max,
    stddev(respiratory_rate) AS respiratory_rate_sd,
    percentile_cont(respiratory_rate, 0.05) AS respiratory_rate_p5,
    percentile_cont(respiratory_rate, 0.95) AS respiratory_rate_p95,
    count(respiratory_rate) AS respiratory_rate_count,
    -- spo2, %
    avg(spo2) AS spo2_avg,
    min(spo2) AS spo2_min,
    max(spo2) AS spo2_max,
    stddev(spo2) AS spo2_sd,
    percentile_cont(spo2, 0.05) AS spo2_p5,
    percentile_cont(spo2, 0.95) AS spo2_p95,
    count(spo2) AS spo2_count,
    -- systolic bp, mmHg
    avg(systolic_bp) AS systolic_bp_avg,
    min(systolic_bp) AS systolic_bp_min,
    max(systolic_bp) AS systolic_bp_max,
    stddev(systolic_bp) AS systolic_bp_sd,
    percentile_cont(systolic_bp, 0.05) AS systolic_bp_p5,
    percentile_cont(systolic_bp, 0.95) AS systolic_bp_p95,
    count(systolic_bp) AS systolic_bp_count,
    -- diastolic bp, mmHg
    avg(diastolic_bp) AS diastolic_bp_avg,
    min(diastolic_bp) AS diastolic_bp_min,
    max(diastolic_bp) AS diastolic_bp_max,
    stddev(diastolic_bp) AS diastolic_bp_sd,
    percentile_cont(diastolic_bp, 0.05) AS diastolic_bp_p5,
    percentile_cont(diastolic_bp, 0.95) AS diastolic_bp_p95,
    count(diastolic_bp) AS diastolic_bp_count,
    -- temperature, °C
    avg(temperature) AS temperature_avg,
    min(temperature) AS temperature_min,
    max(temperature) AS temperature_max,
    stddev(temperature) AS temperature_sd,
    percentile_cont(temperature, 0.05) AS temperature_p5,
    percentile_cont(temperature, 0.95) AS temperature_p95,
    count(temperature) AS temperature_count,
    -- pulse, /min, from the SpO₂ sensor
    avg(pulse) AS pulse_avg,
    min(pulse) AS pulse_min,
    max(pulse) AS pulse_max,
    stddev(pulse) AS pulse_sd,
    percentile_cont(pulse, 0.05) AS pulse_p5,
    percentile_cont(pulse, 0.95) AS pulse_p95,
    count(pulse) AS pulse_count
FROM vitals
GROUP BY patient_id, tumble(event_time, INTERVAL '5 minutes')

-- name: min
-- refuse: MIN_MAX
SELECT MIN(fee_yuan) FROM visits

-- name: max
-- refuse: MIN_MAX
SELECT MAX(fee_yuan) FROM visits

-- name: first
-- refuse: MIN_MAX
SELECT first(diagnosis_detail) FROM visits

-- name: last
-- refuse: MIN_MAX
SELECT last(diagnosis_detail) FROM visits

-- name: any-value
-- refuse: MIN_MAX
SELECT any_value(diagnosis_detail) FROM visits

-- name: arg-max
-- refuse: MIN_MAX
SELECT arg_max(diagnosis_detail, fee_yuan) FROM visits

-- name: min-by
-- refuse: MIN_MAX
SELECT min_by(diagnosis_detail, fee_yuan, 20) FROM visits

-- name: mode
-- refuse: MIN_MAX
SELECT mode(diagnosis_detail) FROM visits

-- name: list
-- refuse: MIN_MAX
SELECT list(fee_yuan) FROM visits

-- name: array-agg
-- refuse: MIN_MAX
SELECT array_agg(fee_yuan ORDER BY fee_yuan) FROM visits

-- name: string-agg
-- refuse: MIN_MAX
SELECT string_agg(diagnosis_detail, ',') FROM visits

-- name: histogram-aggregate
-- refuse: MIN_MAX
SELECT histogram(diagnosis_detail) FROM visits

-- name: quantile-disc
-- refuse: MIN_MAX
SELECT quantile_disc(fee_yuan, 1.0) FROM visits

-- name: approx-top-k
-- refuse: MIN_MAX
SELECT approx_top_k(diagnosis_detail, 100) FROM visits

-- name: json-group
-- refuse: MIN_MAX
SELECT json_group_array(fee_yuan) FROM visits

-- name: json-group-structure
-- refuse: MIN_MAX
SELECT json_group_structure(diagnosis_detail) FROM visits

-- name: bit-xor
-- refuse: UNKNOWN_FUNCTION
SELECT bit_xor(birth_date) FROM population

-- name: product
-- refuse: UNKNOWN_FUNCTION
SELECT product(fee_yuan) FROM visits

-- name: fsum
-- refuse: UNKNOWN_FUNCTION
SELECT fsum(fee_yuan) FROM visits

-- name: count-distinct-other
-- refuse: DISTINCT
SELECT COUNT(DISTINCT diagnosis_detail) FROM visits

-- name: sum-distinct
-- refuse: DISTINCT
SELECT SUM(DISTINCT fee_yuan) FROM visits

-- name: sum-of-text
-- refuse: AGGREGATE_ARGUMENT
SELECT SUM(diagnosis) FROM visits

-- name: sum-of-expression
-- refuse: ARITHMETIC
SELECT SUM(fee_yuan * 1000000) FROM visits

-- name: sum-of-case
-- refuse: CASE
SELECT SUM(CASE WHEN diagnosis = 'F00-F99' THEN 1000000 ELSE 0 END) FROM visits

-- name: sum-of-constant
-- refuse: AGGREGATE_ARGUMENT
SELECT SUM(1000000) FROM visits

-- name: aggregate-filter
-- refuse: FILTER_CLAUSE
SELECT COUNT(*) FILTER (WHERE fee_yuan > 40000) FROM visits

-- name: aggregate-order
-- refuse: FILTER_CLAUSE
SELECT SUM(fee_yuan ORDER BY fee_yuan) FROM visits

-- name: nested-aggregate
-- refuse: AGGREGATE_ARGUMENT
SELECT SUM(COUNT(*)) FROM visits

-- name: aggregate-in-where
-- refuse: AGGREGATE_IN_WHERE
SELECT COUNT(*) FROM visits WHERE SUM(fee_yuan) > 10

-- name: window-row-number
-- refuse: WINDOW_IN_CORE
SELECT row_number() OVER (ORDER BY fee_yuan), COUNT(*) FROM visits

-- name: window-lag
-- refuse: WINDOW_IN_CORE
SELECT lag(fee_yuan) OVER (PARTITION BY diagnosis ORDER BY visit_date) FROM visits

-- name: qualify
-- refuse: NOT_A_KEY
SELECT diagnosis, COUNT(*) FROM visits GROUP BY diagnosis QUALIFY row_number() OVER (ORDER BY fee_yuan) = 1

-- name: star
-- refuse: STAR
SELECT * FROM visits

-- name: star-limit
-- refuse: STAR
SELECT * FROM population LIMIT 1

-- name: qualified-star
-- refuse: STAR
SELECT v.* FROM visits v

-- name: star-exclude
-- refuse: STAR
SELECT * EXCLUDE (id_number) FROM visits

-- name: star-replace
-- refuse: STAR
SELECT * REPLACE (1 AS fee_yuan) FROM visits

-- name: columns-expression
-- refuse: STAR
SELECT COLUMNS('.*') FROM visits

-- name: columns-in-aggregate
-- refuse: STAR
SELECT SUM(COLUMNS('.*_yuan')) FROM visits

-- name: from-first
-- refuse: STAR
FROM visits

-- name: table-statement
-- refuse: STAR
TABLE visits

-- name: bare-column
-- refuse: RAW_ROWS
SELECT fee_yuan FROM visits

-- name: distinct-column
-- refuse: DISTINCT
SELECT DISTINCT diagnosis_detail FROM visits

-- name: distinct-on
-- refuse: DISTINCT
SELECT DISTINCT ON (diagnosis) diagnosis, fee_yuan FROM visits

-- name: whole-row
-- refuse: WHOLE_ROW
SELECT visits FROM visits

-- name: whole-row-alias
-- refuse: WHOLE_ROW
SELECT v FROM visits v

-- name: whole-row-key
-- refuse: WHOLE_ROW
SELECT v, COUNT(*) FROM visits v GROUP BY v

-- name: rowid
-- refuse: UNKNOWN_COLUMN
SELECT rowid, COUNT(*) FROM visits GROUP BY rowid

-- name: internal-unit
-- refuse: UNKNOWN_COLUMN
SELECT _unit, COUNT(*) FROM visits GROUP BY _unit

-- name: internal-rank
-- refuse: UNKNOWN_COLUMN
SELECT COUNT(*) FROM visits WHERE _rn = 1

-- name: unit-as-key
-- refuse: UNIT_COLUMN
SELECT id_number, COUNT(*) FROM visits GROUP BY id_number

-- name: unit-in-where
-- refuse: UNIT_COLUMN
SELECT COUNT(*) FROM visits WHERE id_number = '23990219620321508X'

-- name: unit-range
-- refuse: UNIT_COLUMN
SELECT COUNT(*) FROM visits WHERE id_number < '2399031962'

-- name: unit-is-null
-- refuse: UNIT_COLUMN
SELECT COUNT(*) FROM visits WHERE id_number IS NOT NULL

-- name: count-of-unit
-- refuse: UNIT_COLUMN
SELECT COUNT(id_number) FROM visits

-- name: unit-in-order
-- refuse: UNIT_COLUMN
SELECT COUNT(*) FROM visits ORDER BY id_number

-- name: key-not-grouped
-- refuse: NOT_A_KEY
SELECT fee_yuan, COUNT(*) FROM visits GROUP BY diagnosis

-- name: positional-group
-- refuse: POSITIONAL
SELECT diagnosis, COUNT(*) FROM visits GROUP BY 3

-- name: positional-reference
-- refuse: POSITIONAL
SELECT #1, COUNT(*) FROM visits GROUP BY #1

-- name: positional-order
-- refuse: POST_SQL
SELECT diagnosis, COUNT(*) FROM visits GROUP BY diagnosis ORDER BY 3

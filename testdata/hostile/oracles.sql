-- name: error-under-case
-- refuse: CASE
SELECT COUNT(*) FROM visits WHERE CASE WHEN diagnosis_detail = 'F32.9' THEN error('x') ELSE true END

-- name: error-function
-- refuse: UNKNOWN_FUNCTION
SELECT COUNT(*) FROM visits WHERE error(diagnosis_detail) IS NULL

-- name: cast-prints-value
-- refuse: CAST
SELECT COUNT(*) FROM visits WHERE CAST(diagnosis_detail AS INTEGER) > 0

-- name: cast-short-form
-- refuse: CAST
SELECT COUNT(*) FROM visits WHERE diagnosis_detail::INT = 1

-- name: cast-in-key
-- refuse: CAST
SELECT diagnosis_detail::DATE, COUNT(*) FROM visits GROUP BY diagnosis_detail::DATE

-- name: strptime
-- refuse: UNKNOWN_FUNCTION
SELECT COUNT(*) FROM visits WHERE strptime(diagnosis_detail, '%Y') IS NOT NULL

-- name: date-trunc-column
-- refuse: UNKNOWN_FUNCTION
SELECT COUNT(*) FROM visits WHERE date_trunc(diagnosis_detail, visit_date) IS NOT NULL

-- name: regexp-column-pattern
-- refuse: REGEX
SELECT COUNT(*) FROM visits WHERE regexp_matches('x', diagnosis_detail)

-- name: regexp-operator
-- refuse: REGEX
SELECT COUNT(*) FROM visits WHERE diagnosis_detail ~ '^F3'

-- name: similar-to
-- refuse: REGEX
SELECT COUNT(*) FROM visits WHERE diagnosis_detail SIMILAR TO '(a+)+$'

-- name: like-prefix
-- refuse: LIKE
SELECT COUNT(*) FROM visits WHERE diagnosis_detail LIKE 'F3%'

-- name: like-escape
-- refuse: LIKE
SELECT COUNT(*) FROM visits WHERE diagnosis_detail LIKE 'F3%' ESCAPE diagnosis

-- name: glob
-- refuse: LIKE
SELECT COUNT(*) FROM visits WHERE diagnosis_detail GLOB 'F*'

-- name: overflow
-- refuse: ARITHMETIC
SELECT COUNT(*) FROM visits WHERE fee_yuan * 9223372036854775807 > 0

-- name: division-by-zero
-- refuse: ARITHMETIC
SELECT COUNT(*) FROM visits WHERE 1 / (fee_yuan - 100) > 0

-- name: concatenation
-- refuse: ARITHMETIC
SELECT COUNT(*) FROM visits WHERE diagnosis || diagnosis_detail = 'F00-F99F32.9'

-- name: json-parse
-- refuse: UNKNOWN_FUNCTION
SELECT COUNT(*) FROM visits WHERE json(diagnosis_detail) IS NULL

-- name: base64
-- refuse: UNKNOWN_FUNCTION
SELECT COUNT(*) FROM visits WHERE from_base64(diagnosis_detail) IS NULL

-- name: chr
-- refuse: UNKNOWN_FUNCTION
SELECT COUNT(*) FROM population WHERE chr(birth_date) = 'a'

-- name: timezone
-- refuse: UNKNOWN_FUNCTION
SELECT COUNT(*) FROM visits WHERE timezone(diagnosis_detail, now()) IS NOT NULL

-- name: heavy-if-present
-- refuse: CASE
SELECT COUNT(*) FROM visits WHERE CASE WHEN diagnosis_detail = 'F32.9' AND fee_yuan > 40000 THEN list_sum(list_transform(range(5000000), x -> x * 2)) > 0 ELSE true END

-- name: if-function
-- refuse: CASE
SELECT COUNT(*) FROM visits WHERE if(fee_yuan > 40000, error('x'), true)

-- name: coalesce-error
-- refuse: UNKNOWN_FUNCTION
SELECT COUNT(*) FROM visits WHERE coalesce(diagnosis_detail, error('x')) = 'a'

-- name: try
-- refuse: UNKNOWN_FUNCTION
SELECT COUNT(*) FROM visits WHERE TRY(error('x')) IS NULL

-- name: lambda-filter
-- refuse: UNKNOWN_FUNCTION
SELECT COUNT(*) FROM visits WHERE len(list_filter([1, 2], lambda x: x > fee_yuan)) > 0

-- name: list-comprehension
-- refuse: UNKNOWN_FUNCTION
SELECT COUNT(*) FROM visits WHERE len([x FOR x IN range(100000000) IF x > fee_yuan]) > 0

-- name: repeat-memory
-- refuse: UNKNOWN_FUNCTION
SELECT COUNT(*) FROM visits WHERE length(repeat('x', 900000000)) > fee_yuan

-- name: lpad-memory
-- refuse: UNKNOWN_FUNCTION
SELECT COUNT(*) FROM visits WHERE lpad(diagnosis, 2000000000, 'x') = 'a'

-- name: levenshtein
-- refuse: UNKNOWN_FUNCTION
SELECT COUNT(*) FROM visits WHERE levenshtein(diagnosis, diagnosis_detail) = 0

-- name: random-filter
-- refuse: UNKNOWN_FUNCTION
SELECT COUNT(*) FROM visits WHERE random() < 0.5

-- name: hash-split
-- refuse: ARITHMETIC
SELECT COUNT(*) FROM visits WHERE hash(diagnosis_detail) % 2 = 0

-- name: unit-hash-split
-- refuse: ARITHMETIC
SELECT COUNT(*) FROM visits WHERE hash(id_number) % 1024 = 7

-- name: substring-key
-- refuse: UNKNOWN_FUNCTION
SELECT substr(diagnosis_detail, 1, 1), COUNT(*) FROM visits GROUP BY substr(diagnosis_detail, 1, 1)

-- name: collate
-- refuse: COLLATE
SELECT COUNT(*) FROM visits WHERE diagnosis_detail COLLATE NOCASE = 'f32.9'

-- name: struct-pack
-- refuse: UNKNOWN_FUNCTION
SELECT COUNT(*) FROM visits WHERE {'a': fee_yuan} = {'a': 100}

-- name: stats-function
-- refuse: UNKNOWN_FUNCTION
SELECT stats(fee_yuan) FROM visits LIMIT 1

-- name: current-setting
-- refuse: UNKNOWN_FUNCTION
SELECT current_setting('memory_limit'), COUNT(*) FROM visits

-- name: getenv
-- refuse: UNKNOWN_FUNCTION
SELECT getenv('HOME'), COUNT(*) FROM visits

-- name: nextval
-- refuse: UNKNOWN_FUNCTION
SELECT nextval('s'), COUNT(*) FROM visits

-- name: float-sum-order
-- refuse: CAST
SELECT SUM(CAST(fee_yuan AS DOUBLE)) FROM visits

-- name: nan-literal
-- refuse: CAST
SELECT COUNT(*) FROM visits WHERE fee_yuan < 'nan'::DOUBLE

-- name: short-circuit-error
-- refuse: UNKNOWN_FUNCTION
SELECT COUNT(*) FROM visits WHERE diagnosis_detail <> 'F32.9' OR error('x') IS NULL

-- name: between-subject-dates
-- refuse: UNIT_COLUMN
SELECT COUNT(*) FROM visits WHERE id_number BETWEEN '239902196203215088' AND '239902196203215088'

-- name: unit-in-list
-- refuse: UNIT_COLUMN
SELECT COUNT(*) FROM visits WHERE id_number IN ('239902196203215088')

-- name: unit-in-having
-- refuse: UNIT_COLUMN
SELECT diagnosis, COUNT(*) FROM visits GROUP BY diagnosis HAVING id_number = '239902196203215088'

-- name: unit-compared-to-column
-- refuse: UNIT_COLUMN
SELECT COUNT(*) FROM visits WHERE id_number = diagnosis_detail

-- name: unit-in-join
-- refuse: UNIT_COLUMN
SELECT COUNT(*) FROM visits v JOIN districts d ON v.id_number = d.code

-- name: sum-of-unit
-- refuse: UNIT_COLUMN
SELECT SUM(id_number) FROM visits

-- name: tuple-comparison
-- refuse: UNKNOWN_FUNCTION
SELECT COUNT(*) FROM visits WHERE (diagnosis, diagnosis_detail) = ('F00-F99', 'F32.9')

-- name: constant-key
-- refuse: POSITIONAL
SELECT COUNT(*) FROM visits GROUP BY 'x'

-- name: boolean-key
-- refuse: EXPRESSION
SELECT fee_yuan > 49000, COUNT(*) FROM visits GROUP BY fee_yuan > 49000

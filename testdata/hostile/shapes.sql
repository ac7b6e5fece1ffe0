-- name: private-join
-- refuse: JOIN_NOT_PUBLIC
SELECT COUNT(*) FROM visits v JOIN population p ON v.id_number = p.id_number

-- name: private-self-join
-- refuse: JOIN_NOT_PUBLIC
SELECT COUNT(*) FROM visits a JOIN visits b ON a.id_number = b.id_number

-- name: join-on-private-column
-- refuse: JOIN_NOT_PUBLIC
SELECT COUNT(*) FROM visits v JOIN social_insurance s ON v.diagnosis = s.scheme

-- name: join-not-unique
-- refuse: JOIN_NOT_UNIQUE_KEY
SELECT COUNT(*) FROM population p JOIN districts d ON p.district = d.region

-- name: join-inequality
-- refuse: JOIN_CONDITION
SELECT COUNT(*) FROM population p JOIN districts d ON p.district < d.code

-- name: join-two-conditions
-- refuse: JOIN_CONDITION
SELECT COUNT(*) FROM population p JOIN districts d ON p.district = d.code OR p.gender = '1'

-- name: join-true
-- refuse: JOIN_CONDITION
SELECT COUNT(*) FROM population p JOIN districts d ON true

-- name: cross-join
-- refuse: JOIN_TYPE
SELECT COUNT(*) FROM population CROSS JOIN districts

-- name: comma-join
-- refuse: JOIN_TYPE
SELECT COUNT(*) FROM population p, districts d WHERE p.district = d.code

-- name: right-join
-- refuse: JOIN_TYPE
SELECT d.code, COUNT(*) FROM population p RIGHT JOIN districts d ON p.district = d.code GROUP BY d.code

-- name: full-join
-- refuse: JOIN_TYPE
SELECT COUNT(*) FROM population p FULL JOIN districts d ON p.district = d.code

-- name: natural-join
-- refuse: JOIN_TYPE
SELECT COUNT(*) FROM population NATURAL JOIN districts

-- name: semi-join
-- refuse: JOIN_TYPE
SELECT COUNT(*) FROM population p SEMI JOIN districts d ON p.district = d.code

-- name: anti-join
-- refuse: JOIN_TYPE
SELECT COUNT(*) FROM population p ANTI JOIN districts d ON p.district = d.code

-- name: asof-join
-- refuse: JOIN_TYPE
SELECT COUNT(*) FROM population p ASOF JOIN districts d ON p.district >= d.code

-- name: positional-join
-- refuse: JOIN_TYPE
SELECT COUNT(*) FROM population POSITIONAL JOIN districts

-- name: lateral
-- refuse: JOIN_TYPE
SELECT COUNT(*) FROM population p, LATERAL (SELECT p.birth_date) l

-- name: public-fact
-- refuse: PUBLIC_FACT
SELECT COUNT(*) FROM districts d JOIN population p ON p.district = d.code

-- name: union
-- refuse: SET_OPERATION
SELECT COUNT(*) FROM visits UNION ALL SELECT COUNT(*) FROM visits

-- name: union-by-name
-- refuse: SET_OPERATION
SELECT COUNT(*) AS n FROM visits UNION ALL BY NAME SELECT COUNT(*) AS m FROM population

-- name: intersect
-- refuse: SET_OPERATION
SELECT diagnosis, COUNT(*) FROM visits GROUP BY diagnosis INTERSECT SELECT diagnosis, COUNT(*) FROM visits GROUP BY diagnosis

-- name: except
-- refuse: SET_OPERATION
SELECT COUNT(*) FROM visits EXCEPT SELECT COUNT(*) FROM visits WHERE fee_yuan < 40000

-- name: cte
-- refuse: CTE
WITH v AS (SELECT * FROM visits) SELECT COUNT(*) FROM v

-- name: cte-shadows-table
-- refuse: CTE
WITH visits AS (SELECT * FROM population) SELECT COUNT(*) FROM visits

-- name: cte-recursive
-- refuse: CTE
WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT COUNT(*) FROM r

-- name: subquery-in-from
-- refuse: SUBQUERY
SELECT COUNT(*) FROM (SELECT id_number FROM visits LIMIT 1)

-- name: scalar-subquery
-- refuse: SUBQUERY
SELECT COUNT(*) FROM visits WHERE fee_yuan = (SELECT MAX(fee_yuan) FROM visits)

-- name: correlated-subquery
-- refuse: SUBQUERY
SELECT COUNT(*) FROM visits v WHERE fee_yuan > (SELECT AVG(fee_yuan) FROM visits w WHERE w.diagnosis = v.diagnosis)

-- name: exists
-- refuse: SUBQUERY
SELECT COUNT(*) FROM population p WHERE EXISTS (SELECT 1 FROM visits v WHERE v.id_number = p.id_number)

-- name: in-subquery
-- refuse: SUBQUERY
SELECT COUNT(*) FROM population WHERE id_number IN (SELECT id_number FROM visits WHERE diagnosis = 'F00-F99')

-- name: any-subquery
-- refuse: SUBQUERY
SELECT COUNT(*) FROM visits WHERE fee_yuan >= ALL (SELECT fee_yuan FROM visits)

-- name: subquery-in-select
-- refuse: SUBQUERY
SELECT (SELECT fee_yuan FROM visits LIMIT 1), COUNT(*) FROM visits

-- name: subquery-in-having
-- refuse: SUBQUERY
SELECT diagnosis, COUNT(*) FROM visits GROUP BY diagnosis HAVING COUNT(*) > (SELECT COUNT(*) FROM population)

-- name: subquery-in-limit
-- refuse: LIMIT
SELECT diagnosis, COUNT(*) FROM visits GROUP BY diagnosis LIMIT (SELECT COUNT(*) FROM visits WHERE fee_yuan > 49000)

-- name: values-list
-- refuse: SUBQUERY
SELECT COUNT(*) FROM (VALUES (1), (2)) t(x)

-- name: values-statement
-- refuse: VALUES
VALUES (1), (2)

-- name: sample-clause
-- refuse: SAMPLE
SELECT COUNT(*) FROM visits USING SAMPLE 1 ROWS

-- name: table-sample
-- refuse: SAMPLE
SELECT COUNT(*) FROM visits TABLESAMPLE reservoir(1)

-- name: at-version
-- refuse: TIME_TRAVEL
SELECT COUNT(*) FROM visits AT (VERSION => 1)

-- name: rollup
-- refuse: GROUPING_SETS
SELECT diagnosis, COUNT(*) FROM visits GROUP BY ROLLUP (diagnosis)

-- name: cube
-- refuse: GROUPING_SETS
SELECT diagnosis, department, COUNT(*) FROM visits GROUP BY CUBE (diagnosis, department)

-- name: grouping-sets
-- refuse: GROUPING_SETS
SELECT diagnosis, department, COUNT(*) FROM visits GROUP BY GROUPING SETS ((diagnosis), (department), ())

-- name: column-alias-in-from
-- refuse: COLUMN_ALIAS
SELECT COUNT(a) FROM visits v(a, b, c)

-- name: no-from
-- refuse: NO_TABLE
SELECT 1

-- name: constant-true
-- refuse: CONSTANT_COMPARISON
SELECT COUNT(*) FROM visits WHERE 'a' = 'a'

-- name: is-distinct-from
-- refuse: DISTINCT_FROM
SELECT COUNT(*) FROM visits WHERE diagnosis_detail IS DISTINCT FROM 'F32.9'

-- name: literal-of-wrong-type
-- refuse: LITERAL_TYPE
SELECT COUNT(*) FROM visits WHERE fee_yuan > '100元'

-- name: compare-types
-- refuse: COMPARE_TYPES
SELECT COUNT(*) FROM visits WHERE fee_yuan = diagnosis

-- name: limit-percent
-- refuse: POST_RAW
SELECT diagnosis, COUNT(*) FROM visits GROUP BY diagnosis LIMIT (SELECT fee_yuan FROM visits LIMIT 1) %

-- name: order-by-expression
-- refuse: NOT_A_KEY
SELECT diagnosis, COUNT(*) FROM visits GROUP BY diagnosis ORDER BY SUM(fee_yuan) OVER (PARTITION BY fee_yuan)

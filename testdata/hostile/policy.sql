-- name: column-not-licensed
-- refuse: POLICY_COLUMN
SELECT hospital, COUNT(*) FROM visits GROUP BY hospital

-- name: column-not-licensed-filter
-- refuse: POLICY_COLUMN
SELECT COUNT(*) FROM visits WHERE hospital = 'H06'

-- name: balance-not-licensed
-- refuse: POLICY_COLUMN
SELECT AVG(balance_yuan) FROM housing_fund

-- name: dataset-not-licensed
-- refuse: POLICY_DATASET
SELECT COUNT(*) FROM marriage

-- name: dataset-of-other-operator
-- refuse: POLICY_DATASET
SELECT district, COUNT(*) FROM property GROUP BY district

-- name: dataset-unknown
-- refuse: UNKNOWN_TABLE
SELECT COUNT(*) FROM criminal_records

-- name: display-mask-as-key
-- refuse: POLICY_COLUMN
SELECT name, COUNT(*) FROM population GROUP BY name

-- name: phone-filter
-- refuse: POLICY_COLUMN
SELECT COUNT(*) FROM population WHERE phone = '154****0001'

-- name: dropped-column
-- refuse: POLICY_COLUMN
SELECT COUNT(address) FROM population

-- name: pseudonym-as-key
-- refuse: POLICY_COLUMN
SELECT employer_code, COUNT(*) FROM social_insurance GROUP BY employer_code

-- name: measure-as-key
-- refuse: POLICY_USE
SELECT fee_yuan, COUNT(*) FROM visits GROUP BY fee_yuan

-- name: date-as-key
-- refuse: POLICY_USE
SELECT visit_date, COUNT(*) FROM visits GROUP BY visit_date

-- name: birth-year-as-key
-- refuse: POLICY_USE
SELECT birth_date, COUNT(*) FROM population GROUP BY birth_date

-- name: key-as-measure
-- refuse: AGGREGATE_ARGUMENT
SELECT SUM(district) FROM population

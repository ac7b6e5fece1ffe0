-- name: enable-logging
-- refuse: TABLE_FUNCTION
SELECT COUNT(*) FROM enable_logging('QueryLog', storage = 'stdout')

-- name: enable-logging-file
-- refuse: TABLE_FUNCTION
SELECT * FROM enable_logging('QueryLog', storage = 'file', storage_config = {'path': '/tmp/log'})

-- name: enable-profiling
-- refuse: TABLE_FUNCTION
SELECT * FROM enable_profiling(format = 'json')

-- name: checkpoint-function
-- refuse: TABLE_FUNCTION
SELECT * FROM checkpoint()

-- name: force-checkpoint
-- refuse: TABLE_FUNCTION
SELECT * FROM force_checkpoint()

-- name: query-function
-- refuse: TABLE_FUNCTION
SELECT * FROM query('SELECT * FROM visits')

-- name: query-table
-- refuse: TABLE_FUNCTION
SELECT COUNT(*) FROM query_table('visits')

-- name: execute-serialized
-- refuse: TABLE_FUNCTION
SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT * FROM visits'))

-- name: histogram-macro
-- refuse: TABLE_FUNCTION
FROM histogram('visits', fee_yuan)

-- name: histogram-values
-- refuse: TABLE_FUNCTION
SELECT * FROM histogram_values('visits', diagnosis_detail)

-- name: summary
-- refuse: TABLE_FUNCTION
SELECT * FROM summary('visits')

-- name: storage-info
-- refuse: TABLE_FUNCTION
SELECT * FROM pragma_storage_info('visits')

-- name: table-info
-- refuse: TABLE_FUNCTION
SELECT * FROM pragma_table_info('visits')

-- name: duckdb-tables
-- refuse: TABLE_FUNCTION
SELECT table_name, estimated_size FROM duckdb_tables()

-- name: duckdb-views
-- refuse: TABLE_FUNCTION
SELECT sql FROM duckdb_views()

-- name: duckdb-functions
-- refuse: TABLE_FUNCTION
SELECT macro_definition FROM duckdb_functions()

-- name: duckdb-settings
-- refuse: TABLE_FUNCTION
SELECT name, value FROM duckdb_settings()

-- name: duckdb-secrets
-- refuse: TABLE_FUNCTION
SELECT * FROM duckdb_secrets()

-- name: duckdb-databases
-- refuse: TABLE_FUNCTION
SELECT path FROM duckdb_databases()

-- name: autocomplete
-- refuse: TABLE_FUNCTION
SELECT * FROM sql_auto_complete('SELECT * FROM vis')

-- name: sqlite-master
-- refuse: UNKNOWN_TABLE
SELECT COUNT(*) FROM sqlite_master

-- name: information-schema
-- refuse: QUALIFIED_NAME
SELECT COUNT(*) FROM information_schema.tables

-- name: pg-catalog
-- refuse: QUALIFIED_NAME
SELECT SUM(reltuples) FROM pg_catalog.pg_class

-- name: main-schema
-- refuse: QUALIFIED_NAME
SELECT COUNT(*) FROM main.visits

-- name: other-database
-- refuse: QUALIFIED_NAME
SELECT COUNT(*) FROM system.main.visits

-- name: read-csv
-- refuse: TABLE_FUNCTION
SELECT COUNT(*) FROM read_csv('/etc/passwd')

-- name: read-text
-- refuse: TABLE_FUNCTION
SELECT content FROM read_text('/proc/self/environ')

-- name: read-parquet
-- refuse: TABLE_FUNCTION
SELECT COUNT(*) FROM read_parquet('https://example.com/x.parquet')

-- name: glob-function
-- refuse: TABLE_FUNCTION
SELECT * FROM glob('/**')

-- name: file-as-table
-- refuse: UNKNOWN_TABLE
SELECT COUNT(*) FROM '/etc/passwd'

-- name: file-as-quoted-table
-- refuse: UNKNOWN_TABLE
SELECT COUNT(*) FROM "data.parquet"

-- name: range-function
-- refuse: TABLE_FUNCTION
SELECT COUNT(*) FROM range(100000000000)

-- name: generate-series
-- refuse: TABLE_FUNCTION
SELECT COUNT(*) FROM generate_series(1, 100000000000)

-- name: unnest-table
-- refuse: TABLE_FUNCTION
SELECT COUNT(*) FROM unnest([1, 2, 3])

-- name: unnest-select
-- refuse: NOT_A_KEY
SELECT unnest([fee_yuan]), COUNT(*) FROM visits

-- name: summarize-table
-- refuse: SHOW
SUMMARIZE visits

-- name: summarize-in-from
-- refuse: SUBQUERY
SELECT * FROM (SUMMARIZE visits)

-- name: describe
-- refuse: SHOW
DESCRIBE visits

-- name: describe-in-from
-- refuse: SUBQUERY
SELECT * FROM (DESCRIBE visits)

-- name: show-tables
-- refuse: SHOW
SHOW ALL TABLES

-- name: pivot
-- refuse: PIVOT
PIVOT visits ON diagnosis_detail USING COUNT(*)

-- name: pivot-in-from
-- refuse: SUBQUERY
SELECT * FROM (PIVOT visits ON diagnosis_detail IN ('I10', 'F32.9') USING SUM(fee_yuan) GROUP BY department)

-- name: unpivot
-- refuse: PIVOT
UNPIVOT visits ON fee_yuan, insured_yuan INTO NAME n VALUE v

-- name: explain
-- refuse: EXPLAIN
EXPLAIN SELECT COUNT(*) FROM visits WHERE fee_yuan > 49999

-- name: explain-analyze
-- refuse: EXPLAIN
EXPLAIN ANALYZE SELECT COUNT(*) FROM visits WHERE fee_yuan > 49999

-- name: post-clock-by-keyword
-- refuse: POST_FUNCTION
WITH c AS (SELECT gender, COUNT(*) AS n FROM population GROUP BY gender) SELECT current_timestamp FROM c

-- name: post-user-by-keyword
-- refuse: POST_FUNCTION
WITH c AS (SELECT gender, COUNT(*) AS n FROM population GROUP BY gender) SELECT session_user FROM c

-- name: post-rights
-- refuse: POST_FUNCTION
WITH c AS (SELECT gender, COUNT(*) AS n FROM population GROUP BY gender) SELECT has_table_privilege('x', 'y') FROM c

-- name: post-sample
-- refuse: SAMPLE
WITH c AS (SELECT gender, COUNT(*) AS n FROM population GROUP BY gender) SELECT n FROM c TABLESAMPLE reservoir(50%)

-- name: post-using-sample
-- refuse: SAMPLE
WITH c AS (SELECT gender, COUNT(*) AS n FROM population GROUP BY gender) SELECT n FROM c USING SAMPLE 1 ROWS

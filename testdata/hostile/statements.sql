-- name: empty
-- refuse: EMPTY
;

-- name: comment-only
-- refuse: EMPTY
/* nothing */

-- name: two-statements
-- refuse: MULTIPLE_STATEMENTS
SELECT COUNT(*) FROM visits; SELECT COUNT(*) FROM visits

-- name: second-statement-drops
-- refuse: UNSUPPORTED
SELECT COUNT(*) FROM visits; DROP TABLE visits

-- name: hidden-second-statement
-- refuse: UNSUPPORTED
SELECT COUNT(*) FROM visits /* ; */ ; /* */ ATTACH ':memory:' AS x

-- name: insert
-- refuse: NOT_SELECT
INSERT INTO visits SELECT * FROM visits

-- name: update
-- refuse: NOT_SELECT
UPDATE visits SET fee_yuan = 0

-- name: delete
-- refuse: NOT_SELECT
DELETE FROM visits

-- name: create-table-as
-- refuse: NOT_SELECT
CREATE TABLE t AS SELECT * FROM visits

-- name: create-temp-view
-- refuse: NOT_SELECT
CREATE TEMP VIEW v AS SELECT * FROM visits

-- name: create-macro
-- refuse: NOT_SELECT
CREATE MACRO m(x) AS (SELECT * FROM visits)

-- name: copy-to-stdout
-- refuse: NOT_SELECT
COPY (SELECT * FROM visits) TO '/dev/stdout'

-- name: export-database
-- refuse: NOT_SELECT
EXPORT DATABASE '/tmp/x'

-- name: attach
-- refuse: NOT_SELECT
ATTACH '/tmp/x.db' AS x

-- name: install
-- refuse: NOT_SELECT
INSTALL httpfs

-- name: load
-- refuse: NOT_SELECT
LOAD '/tmp/x.duckdb_extension'

-- name: pragma
-- refuse: NOT_SELECT
PRAGMA enable_profiling

-- name: pragma-verification
-- refuse: NOT_SELECT
PRAGMA enable_verification

-- name: set-setting
-- refuse: NOT_SELECT
SET lock_configuration = false

-- name: reset-setting
-- refuse: NOT_SELECT
RESET memory_limit

-- name: set-variable
-- refuse: NOT_SELECT
SET VARIABLE x = (SELECT MAX(fee_yuan) FROM visits)

-- name: call
-- refuse: NOT_SELECT
CALL enable_logging('QueryLog', storage = 'stdout')

-- name: prepare
-- refuse: NOT_SELECT
PREPARE p AS SELECT * FROM visits

-- name: execute
-- refuse: NOT_SELECT
EXECUTE p

-- name: begin
-- refuse: NOT_SELECT
BEGIN TRANSACTION

-- name: use
-- refuse: NOT_SELECT
USE memory

-- name: vacuum
-- refuse: NOT_SELECT
VACUUM ANALYZE visits

-- name: checkpoint-statement
-- refuse: NOT_SELECT
CHECKPOINT

-- name: select-into
-- refuse: SYNTAX
SELECT COUNT(*) INTO t FROM visits

-- name: positional-parameter
-- refuse: PARAMETER
SELECT COUNT(*) FROM visits WHERE fee_yuan > ?

-- name: named-parameter
-- refuse: PARAMETER
SELECT COUNT(*) FROM visits WHERE fee_yuan > $limit

-- name: syntax-error-with-value
-- refuse: SYNTAX
SELECT COUNT(*) FROM visits WHERE diagnosis = = '239902196203215088'

-- name: unclosed-literal
-- refuse: SYNTAX
SELECT COUNT(*) FROM visits WHERE diagnosis = 'F32.9

-- name: unclosed-comment
-- refuse: SYNTAX
SELECT COUNT(*) FROM visits /* no end
